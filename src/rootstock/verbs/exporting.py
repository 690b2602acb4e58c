"""What every form of export asks of a run: rows to compare on, and that something comes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.bases.combine import Combination
from rootstock.bases.resolve import resolve
from rootstock.core.errors import DataError, MergeRefused, RootstockError, UsageError
from rootstock.core.watch import Say
from rootstock.run import labelled, labelled_pictures
from rootstock.run.finish import seen_keys
from rootstock.run.use import Run


@dataclass(frozen=True, kw_only=True)
class Options:
    """combination: how several runs become one. head_from: the run whose head the result gets. rows: a file to compare answers on.

    tolerance: how far answers may move, of int8 the share of them that may be others; None: the form's own. weights: precision: of gguf.
    """

    combination: Combination | None = None
    head_from: Path | None = None
    rows: str | None = None
    tolerance: float | None = None
    precision: str | None = None

    def of_several(self) -> bool:
        """Whether anything is asked for that only several runs have."""
        return self.combination is not None or self.head_from is not None


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What is in the folder. facts: what export.json tells. card: README.md under the folder's name."""

    facts: dict[str, Any]
    card: Callable[[str], str]


def alone(runs: Sequence[Run], options: Options, form: str) -> Run:
    """The one run of a form that takes no more; UsageError for several."""
    if len(runs) > 1 or options.of_several():
        fix = f"make one of them first, --to merged, and export that --to {form}"
        raise UsageError(f"--to {form} with several runs", wanted="one run", fix=fix)
    return runs[0]


def check_folds(run: Run) -> None:
    """Raise MergeRefused, before anything is loaded, for a run whose method leaves what no weight can hold."""
    if not run.method.folds or run.contract["saves"] == "head":
        raise MergeRefused(
            f"what {run.recipe.method['name']} learned can't be folded into weights",
            wanted="a run with a method that folds, such as lora",
            fix=f"use the run as it is; {run.folder.model} holds it",
        )


def rows_of(run: Run, path: str | None, say: Say) -> pa.Table | None:
    """The file that is named, else the run's own validation rows; None where these are not at hand, which is said."""
    if path:
        return run.read(path, labelled=True, say=say).rows
    return held_out(run, say)


def rows_wanted(run: Run, path: str | None, say: Say) -> pa.Table:
    """The same; DataError where there are none."""
    rows = rows_of(run, path, say)
    if rows is None or not len(rows):
        raise DataError(
            f"the validation rows of {run.path} are not at hand, so that answers before and after the export can't be compared",
            wanted="the files that the run learned from, unchanged and where they were",
            fix="put them back, or name others: --rows FILE",
        )
    return rows


def held_out(run: Run, say: Say) -> pa.Table | None:
    """The run's own validation rows, read and split again; None where the files are gone or are others by now, which is said."""
    if run.folder.alone:
        say(f"rows      {run.path} came without its run: its validation rows are not known")
        return None
    try:
        if run.task.reads == "images":
            rows = labelled_pictures.prepare(run.recipe, resolve(run.recipe.base), _silent).validation
        else:
            rows = labelled.read_rows(run.recipe, _silent).validation
    except RootstockError as error:
        say(f"rows      the validation rows of {run.path} are not at hand: {error.found}")
        return None
    if not np.array_equal(seen_keys(rows), run.seen().get("chose", ())):
        say(f"rows      the data of {run.path} are others by now: its validation rows can't be told")
        return None
    return rows


def _silent(_: str) -> None:
    pass


def told(run: Run) -> dict[str, Any]:
    """What every card tells of the run behind it."""
    return {"kind": run.task.kind, "contract": run.contract, "licence": _licence(run)}


def _licence(run: Run) -> str:
    held = {} if run.folder.alone else run.folder.json("manifest.json").get("base", {})
    return str(held.get("licence") or "unknown").lower()
