"""Runs written out for use elsewhere: an adapter folded into its base, or several runs over one base made one model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from rootstock.bases import save as bases
from rootstock.bases.combine import Combination
from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.errors import DataError, MergeRefused, RootstockError, UsageError
from rootstock.core.watch import Say
from rootstock.report import export_card
from rootstock.run import contract as contracts
from rootstock.run import labelled, labelled_pictures, pictures
from rootstock.run.build import add_companions
from rootstock.run.finish import seen_keys
from rootstock.run.use import Run
from rootstock.verbs import merging

Form = Callable[[Sequence[Run], "Options", Say], "Exported"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """combination: how several runs become one. head_from: the run whose head the result gets. rows: a file to compare answers on."""

    combination: Combination | None = None
    head_from: Path | None = None
    rows: str | None = None


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model to write. run: the one whose task it answers. facts: what export.json and the card tell."""

    run: Run
    model: nn.Module
    facts: dict[str, Any]


def export(paths: Sequence[Path], to: str, out: Path, options: Options, say: Say) -> dict[str, Any]:
    """Write runs into a folder in another form; returns what export.json holds.

    Raises UsageError for a form that does not exist or a folder that is taken, MergeRefused where the answers would be others,
    ContractRefused where runs do not belong together.
    """
    if to not in FORMS:
        raise UsageError(f"--to {to}", wanted=f"one of {', '.join(FORMS)}", fix="choose one of these")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already", wanted="a new or empty folder", fix="choose another --out")
    for run in (runs := [Run(path) for path in paths]):
        if held := run.folder.parts:
            fix = f"name the folder of one: {run.folder.part(held[0]).path}"
            raise UsageError(f"{run.path} learned several tasks", wanted=f"one of {', '.join(held)}", fix=fix)
    made = FORMS[to](runs, options, say)
    with artifact.whole_folder(out) as beside:
        _write(made, [Run(path) for path in paths], beside, out.name)
    return made.facts


def merged(runs: Sequence[Run], options: Options, say: Say) -> Exported:
    """One plain model: of a single run its adapter folded in, of several their task vectors combined."""
    if len(runs) > 1:
        combination = options.combination or Combination()
        head = merging.head_of(runs, options.head_from)
        model, facts = merging.merge(runs, head, combination, _rows_of_each(runs, head, options, say))
        return Exported(run=head.run, model=model, facts={"to": "merged", **facts})
    run = runs[0]
    if options.combination or options.head_from:
        raise UsageError("one run, and a way to combine several", wanted="two runs or more", fix="leave --combine and --head-from out")
    check_folds(run)
    if run.contract["saves"] != "adapter":
        raise UsageError(f"{run.path} has nothing to fold", wanted="an adapter", fix=f"use {run.folder.model}: it is a whole model already")
    rows = _rows(run, options.rows, say)
    if rows is None:
        raise DataError(
            f"the validation rows of {run.path} are not at hand, so that answers before and after the merge can't be compared",
            wanted="the files that the run learned from, unchanged and where they were",
            fix="put them back, or name others: --rows FILE",
        )
    model, moved = merging.folded(run, rows)
    source = {**merging.source(run), "measured": None}
    return Exported(run=run, model=model, facts={"to": "merged", "sources": [source], "compared": moved})


FORMS: Mapping[str, Form] = {"merged": merged}
"""What a run can be exported to, and who does it."""


def check_folds(run: Run) -> None:
    """Raise MergeRefused, before anything is loaded, for a run whose method leaves what no weight can hold."""
    if not run.method.folds or run.contract["saves"] == "head":
        raise MergeRefused(
            f"what {run.recipe.method['name']} learned can't be folded into weights",
            wanted="a run with a method that folds, such as lora",
            fix=f"use the run as it is; {run.folder.model} holds it",
        )


def _rows_of_each(runs: Sequence[Run], head: merging.Head, options: Options, say: Say) -> list[pa.Table | None]:
    """The rows to measure each run on: the file that is named for those that the head answers for, else its own where they are at hand."""
    for run in runs:
        check_folds(run)
    return [_rows(run, options.rows if head.answers(run) else None, say) for run in runs]


def _rows(run: Run, path: str | None, say: Say) -> pa.Table | None:
    if path:
        return run.read(path, labelled=True, say=say).rows
    return held_out(run, say)


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
    if not np.array_equal(seen_keys(rows), run.seen()["chose"]):
        say(f"rows      the data of {run.path} are others by now: its validation rows can't be told")
        return None
    return rows


def _silent(_: str) -> None:
    pass


def _write(made: Exported, runs: Sequence[Run], folder: Path, name: str) -> None:
    run = made.run
    bases.save_model(made.model, run.tokenizer, folder)
    add_companions(run.task, run.contract["length"], made.model, folder)
    if run.task.reads in pictures.READS:
        pictures.save_processor(run.task, folder)
    contracts.write({**run.contract, "saves": "model"}, folder)
    merging.save_seen(runs, folder / "seen.safetensors")
    artifact.write_json(folder / "export.json", made.facts)
    facts = made.facts | {
        "name": name,
        "kind": run.task.kind,
        "contract": run.contract,
        "licence": _licence(run),
        "class": type(made.model).__name__,
    }
    artifact.write_text(folder / "README.md", export_card.render(facts))


def _licence(run: Run) -> str:
    held = {} if run.folder.alone else run.folder.json("manifest.json").get("base", {})
    return str(held.get("licence") or "unknown").lower()


def numbers(text: str | None) -> list[float] | None:
    """Numbers with commas between; UsageError where one is none."""
    try:
        return None if text is None else [float(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights {text}", wanted="numbers with commas between, such as 0.7,0.3") from None


def as_text(found: dict[str, Any], out: Path) -> str:
    """What came of an export, for a person."""
    return "\n".join([*export_card.lines(found), f"written   {out}"])
