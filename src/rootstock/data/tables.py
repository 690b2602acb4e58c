"""Columns to Arrow: what every reader gives, and values of any kind as one typed column."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.core import rows
from rootstock.core.errors import DataError


@dataclass(frozen=True)
class Parsed:
    """What a reader made of a file: its table with the row column, the format it found, and remarks for the user."""

    table: pa.Table
    format: str
    notes: tuple[str, ...]


def build(columns: Mapping[str, Sequence[Any]], numbers: Sequence[int], *, name: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Columns as Arrow plus rows.ROW, and remarks. Raises DataError for letters that no encoding can hold."""
    notes: list[str] = []
    arrays: dict[str, Any] = {}
    for column, values in columns.items():
        arrays[column], mixed = _array(values, f"{name}: column {column!r}")
        if mixed:
            notes.append(f"column {column!r} mixes kinds of values: all are read as text")
    table, renamed = numbered(pa.table(arrays), np.asarray(numbers, dtype=np.int64))
    return table, (*notes, *renamed)


def numbered(table: pa.Table, numbers: np.ndarray | None = None) -> tuple[pa.Table, tuple[str, ...]]:
    """The table with rows.ROW at its end; a column of that name in the file gets another one."""
    notes: tuple[str, ...] = ()
    if rows.ROW in table.column_names:
        free = next(f"{rows.ROW}_{n}" for n in range(1, table.num_columns + 2) if f"{rows.ROW}_{n}" not in table.column_names)
        table = table.rename_columns([free if column == rows.ROW else column for column in table.column_names])
        notes = (f"the file's own column {rows.ROW!r} is called {free!r}",)
    places = np.arange(1, table.num_rows + 1, dtype=np.int64) if numbers is None else numbers
    return table.append_column(rows.ROW, pa.array(places)), notes


_STRING = pa.string()


def strings(values: Sequence[str | None], where: str, kind: Any = _STRING) -> pa.Array:
    """Strings as an Arrow array. Raises DataError for half letters, which JSON escapes and odd encodings can hold."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} holds half of a surrogate pair ({error.object[error.start : error.end]!r})",
            wanted="whole Unicode letters",
            fix="write the file again as UTF-8",
        ) from None


def _array(values: Sequence[Any], where: str) -> tuple[Any, bool]:
    """Values as an Arrow array, and whether they had to become text because their kinds differ."""
    try:
        return pa.array(values), False
    except (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError):
        return strings([_text(value) for value in values], where), True


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
