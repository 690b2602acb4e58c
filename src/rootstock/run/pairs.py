"""Pairs of texts to learn from without labels: two columns of a table."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rootstock.core.errors import DataError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import PAIR, SOURCE, TEXT
from rootstock.corpus.built import shards
from rootstock.data import schema, source
from rootstock.data import unlabelled as documents
from rootstock.data.looks import shorten

READS = "pairs"
"""What of an objective's `reads` is read here."""


def facts(name: str, recipe: Recipe) -> dict[str, Any]:
    """A table with what tells it from any other. Raises DataError for a built corpus, which holds documents."""
    if shards(name) is not None:
        raise DataError(
            f"{name} is a corpus of documents, and task.views is pairs",
            wanted="a table of two texts a row",
            fix="name a table, or leave task.views out: dropout makes both views of one text",
        )
    return {"name": name, "format": READS, "sha256": source.read(name, recipe.data).digest}


def read(names: Sequence[str], recipe: Recipe, broken: Counter[str]) -> pa.Table:
    """All pairs: text and text_pair [N], and the number of the table [N]. broken: counts the rows that lack one of their texts.

    Raises DataError where a table has no two columns of text.
    """
    tables = []
    for number, name in enumerate(names):
        own = _canonical(name, recipe)
        whole = pc.and_(*(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(own.column(each))), 0) for each in (TEXT, PAIR)))
        kept = own.filter(whole)
        if len(own) > len(kept):
            broken["without one of its texts"] += len(own) - len(kept)
        tables.append(kept.append_column(SOURCE, pa.array(np.full(len(kept), number, np.int16))))
    return pa.concat_tables(tables)


def digests(rows: pa.Table) -> np.ndarray:
    """64 bits of each pair, [N]: two of the same first text are two pairs."""
    second = rows.select([PAIR]).rename_columns([TEXT])
    made_N: np.ndarray = documents.digests(rows) * np.uint64(3) ^ documents.digests(second)
    return made_N


def cut_short(rows: pa.Table, tokenizer: Any, length: int) -> dict[str, Any]:
    """The finding on pairs of which a text is longer than what is kept of it."""
    first, second = (rows.column(name).to_pylist() for name in (TEXT, PAIR))
    return documents.cut_short(
        (first, second), tokenizer, length, lambda place: f"{shorten(first[place], 60)} / {shorten(second[place], 60)}"
    )


def _canonical(name: str, recipe: Recipe) -> pa.Table:
    found = source.read(name, recipe.data)
    told = schema.recognise(found, text=recipe.task.get("text"), text_pair=recipe.task.get("text_pair"), labelled=False)
    if told.text_pair is None:
        names = [each for each in found.table.column_names if each != "row"]
        raise DataError(
            f"{name} has one column of text, {told.text!r}, among {', '.join(map(repr, names))}",
            wanted="two that belong together",
            fix="name them: --set task.text=… --set task.text_pair=…",
        )
    rows = schema.canonical(found, told).rows
    return rows.select([TEXT, PAIR]).cast(pa.schema([(TEXT, pa.large_string()), (PAIR, pa.large_string())]))
