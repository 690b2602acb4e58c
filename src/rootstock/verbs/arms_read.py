"""A labelled file before a comparison divides it: canonical rows, and the same in the columns that its task reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.core.recipe import Recipe
from rootstock.core.settings import changed
from rootstock.core.watch import Say
from rootstock.data import source
from rootstock.run import labelled
from rootstock.verbs.compare_transfer import SPLIT_SEED, TEST_SHARE


@dataclass(frozen=True, kw_only=True)
class Side:
    """Rows of a file: canonical ones, and the whole file as it came."""

    rows: pa.Table
    raw: pa.Table


@dataclass(frozen=True, kw_only=True)
class Read:
    """task: its name; columns: by part. train: all that is not for testing. held: of a file of validation rows, where one is given.

    copy: writes what the rows of these tables only name (images) beside them, in the folder of the parts.
    """

    task: str
    columns: Mapping[str, Any]
    train: Side
    test: pa.Table
    held: Side | None
    copy: Callable[[Mapping[str, pa.Table], Path], None] = lambda tables, folder: None


def texts(recipe: Recipe, digests: Mapping[str, str], say: Say) -> Read:
    """Rows of texts. digests: of the files, as they were when the comparison began; DataError where one is another by now."""
    data = recipe.data
    assert isinstance(data.train, str)
    whole = Recipe.build(changed(recipe.plain(), {"data.validation": TEST_SHARE, "seed": SPLIT_SEED}), "")
    rows = labelled.read_rows(whole, say)
    name = rows.task if rows.task != "auto" else labelled.task_of(rows.train)
    check_same(data.train, str(rows.sources["train"]["sha256"]), digests["train"])
    known = rows.schema
    return Read(
        task=name,
        columns={"text": known.text, "text_pair": known.text_pair, "label": known.label, **known.further},
        train=Side(rows=rows.train, raw=_raw(data.train, whole, rows.task, digests["train"])),
        test=rows.validation,
        held=_beside(recipe, rows.task, digests["validation"]) if isinstance(data.validation, str) else None,
    )


def _beside(recipe: Recipe, task: str, digest: str) -> Side:
    """A file of validation rows."""
    place = str(recipe.data.validation)
    found = labelled.read_rows(recipe, lambda text: None)
    check_same(place, str(found.sources["validation"]["sha256"]), digest)
    return Side(rows=found.validation, raw=_raw(place, recipe, task, digest))


def check_same(reference: str, digest: str, wanted: str) -> None:
    """Raises DataError where a file that is read twice was another one the second time: its parts would be of neither."""
    if digest != wanted:
        raise DataError(
            f"{reference} has changed while it was read",
            wanted="rows that stay as they are until all are read",
            fix="give the same command again when nobody writes to them",
        )


def _raw(reference: str, recipe: Recipe, task: str, digest: str) -> pa.Table:
    """A file's own rows, in the columns that its task reads."""
    found = source.read(reference, recipe.data)
    check_same(reference, found.digest, digest)
    if task == "auto":
        return found.table
    named = recipe.task.get("name", "auto")
    return labelled.task_for(found.table)[1] if named == "auto" else labelled.arranged(found, task).table
