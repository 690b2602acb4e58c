"""Canaries among what a run learns from: where they are put, and what the run folder keeps of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rootstock.core import artifact
from rootstock.core.errors import RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import DOCUMENT, LABEL, PAIR, ROW, TEXT, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Say
from rootstock.data import canaries
from rootstock.data import unlabelled as documents

if TYPE_CHECKING:
    from rootstock.run.labelled import Rows
    from rootstock.run.prepared import Prepared

_PLAIN = {TEXT, PAIR, LABEL, ROW}


def in_rows(recipe: Recipe, rows: "Rows", say: Say) -> "Rows":
    """The training rows with the canaries at their end; each has a label by chance, and a number after the file's last."""
    count = recipe.data.canaries
    if count is None:
        return rows
    if further := set(rows.train.column_names) - _PLAIN:
        raise RecipeError(f"data.canaries beside a column {min(further)}", wanted="texts with a label each", fix="leave canaries out")
    labels = sorted(set(column(rows.train, LABEL)), key=str)
    made = canaries.made(count, recipe.seed, labels)
    chosen = [each for each in made if each.planted]
    last = max(column(rows.train, ROW) + column(rows.validation, ROW))
    columns = {
        TEXT: [each.text for each in chosen],
        PAIR: [each.pair for each in chosen],
        LABEL: [each.label for each in chosen],
        ROW: list(range(last + 1, last + 1 + count)),
    }
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in rows.train.schema}, schema=rows.train.schema)
    say(f"canaries  {count} made-up texts with a label by chance are learned too; {len(made) - count} more are not, for comparison")
    return replace(rows, train=pa.concat_tables([rows.train, table]), canaries=tuple(made))


def counted(ledger: dict[str, Any], made: Sequence[canaries.Canary]) -> dict[str, Any]:
    """The ledger with the canaries told apart from rows that were read."""
    if not made:
        return ledger
    count = sum(each.planted for each in made)
    rows = ledger["rows"]
    return ledger | {"rows": {**rows, "read": rows["read"] - count, "planted": count}}


def of_documents(recipe: Recipe, share: float) -> tuple[canaries.Canary, ...]:
    """Those of a corpus: what would be held out by its digest is never planted, nor a control."""
    if recipe.data.canaries is None:
        return ()
    made = canaries.made(recipe.data.canaries * 2 + 20, recipe.seed, ())
    held_N = documents.held_out(documents.digests(pa.table({TEXT: [each.text for each in made]})), share, recipe.seed)
    learned = [each for each, held in zip(made, held_N.tolist(), strict=True) if not held]
    planted = [each for each in learned if each.planted][: recipe.data.canaries]
    return (*planted, *(each for each in learned if not each.planted))


def in_documents(recipe: Recipe, rows: pa.Table, share: float) -> pa.Table:
    """The documents with the planted canaries at their end."""
    chosen = [each.text for each in of_documents(recipe, share) if each.planted]
    if not chosen:
        return rows
    table = documents.read([chosen])
    begun = int(np.max(rows.column(DOCUMENT).to_numpy(), initial=-1)) + 1
    place = table.column_names.index(DOCUMENT)
    numbers = pa.array(table.column(DOCUMENT).to_numpy() + begun, table.schema.field(DOCUMENT).type)
    return pa.concat_tables([rows, table.set_column(place, DOCUMENT, numbers)])


def save(folder: RunFolder, prepared: "Prepared") -> None:
    """Keep the list in the run folder, where there is one."""
    if prepared.canaries:
        artifact.write_text(folder.path / canaries.FILE, canaries.as_csv(prepared.canaries))
