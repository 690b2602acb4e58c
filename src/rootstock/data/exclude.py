"""Rows that a training is to do without, by their places in the file: what `inspect --label-noise --out` writes, or a list of one's own."""

import csv
from collections.abc import Collection
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.core.rows import LABEL, ROW, column, spell
from rootstock.data.files import decode, fetch

_PLACE, _GIVEN = "row", "label"


class Listed(NamedTuple):
    """Places in the file, each with the label that the list says it has, or None where it says none."""

    name: str
    rows: dict[int, str | None]


def read(reference: str) -> Listed:
    """A CSV file with a column row, and perhaps label. DataError where it is missing, has no such column, or holds what is no number."""
    data, _ = fetch(Path(reference), reference)
    text, _ = decode(data, reference, encoding="auto")
    try:
        return _listed(reference, csv.DictReader(StringIO(text, newline="")))
    except csv.Error as error:
        raise DataError(f"{reference} is no whole CSV: {error}", wanted="a CSV file with the places of rows", fix="correct it") from None


def _listed(reference: str, table: "csv.DictReader[str]") -> Listed:
    if _PLACE not in (table.fieldnames or ()):
        raise DataError(
            f"{reference} has no column {_PLACE!r}; its columns are {', '.join(table.fieldnames or ()) or 'none'}",
            wanted="a CSV file with the places of rows",
            fix="write one with rootstock inspect FILE --label-noise --out suspects.csv",
        )
    rows: dict[int, str | None] = {}
    for record in table:
        place = str(record[_PLACE]).strip()
        if not place.isdecimal():
            raise DataError(f"{reference}, line {table.line_num}: row is {place!r}", wanted="a whole number", fix="correct the line")
        rows[int(place)] = record.get(_GIVEN)
    return Listed(reference, rows)


def check(listed: Listed, rows: pa.Table, file: str, *, elsewhere: Collection[int] | None) -> None:
    """DataError where the list was made of another file: a place that is not there, or another label.

    elsewhere: places of the file that are not among the rows; None where they are not known.
    """
    held = dict(zip(column(rows, ROW), column(rows, LABEL), strict=True))
    for place, label in listed.rows.items():
        if place not in held:
            if elsewhere is None or place in elsewhere:
                continue
            raise DataError(
                f"{listed.name} lists row {place}, and {file} has none", wanted="rows of this file", fix="make the list of this file"
            )
        if label is not None and _spelled(held[place]) != label.strip():
            raise DataError(
                f"{listed.name} says that row {place} is {label!r}, and in {file} it is {_spelled(held[place])!r}",
                wanted="a list of this very file",
                fix="make the list anew, or leave its column label out",
            )


def without(rows: pa.Table, listed: Listed) -> pa.Table:
    """The rows that are not listed."""
    return rows.filter(pa.array([place not in listed.rows for place in column(rows, ROW)]))


def _spelled(label: object) -> str:
    return "|".join(spell(part) for part in label) if isinstance(label, list) else spell(label)
