"""Rows that a training is to do without, by their places in the file: what `inspect --label-noise --out` and
`scan --poisoning --out` write, or a list of one's own."""

import csv
from collections.abc import Collection, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from rootstock.core.artifact import digest_bytes
from rootstock.core.errors import DataError
from rootstock.core.rows import LABEL, PAIR, ROW, TEXT, column, spell
from rootstock.data.files import decode, fetch

_PLACE, _GIVEN = "row", "label"
DIGEST = "digest"
"""Column of what a row's text is known by, whatever its place."""


class Listed(NamedTuple):
    """Places in the file, each with the label that the list says it has, or None where it says none; and so the digests of the texts."""

    name: str
    rows: dict[int, str | None]
    digests: dict[int, str]


def digests(rows: pa.Table) -> list[str]:
    """What the text of each row (both of a pair) is known by: 16 hexadecimal digits."""
    firsts = column(rows, TEXT)
    seconds = column(rows, PAIR) if PAIR in rows.column_names else [""] * len(firsts)
    return [digest_bytes(first.encode(), second.encode())[:16] for first, second in zip(firsts, seconds, strict=True)]


def as_csv(listed: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as the file that `read` takes."""
    stream = StringIO()
    table = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(listed)
    return stream.getvalue()


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
            fix="write one with rootstock scan FILE --poisoning --out suspects.csv",
        )
    rows: dict[int, str | None] = {}
    known: dict[int, str] = {}
    for record in table:
        place = str(record[_PLACE]).strip()
        if not place.isdecimal():
            raise DataError(f"{reference}, line {table.line_num}: row is {place!r}", wanted="a whole number", fix="correct the line")
        rows[int(place)] = record.get(_GIVEN)
        if record.get(DIGEST):
            known[int(place)] = str(record[DIGEST]).strip()
    return Listed(reference, rows, known)


def check(listed: Listed, rows: pa.Table, file: str, *, elsewhere: Collection[int] | None) -> None:
    """DataError where the list was made of another file: a place that is not there, or another label.

    elsewhere: places of the file that are not among the rows; None where they are not known.
    """
    held = dict(zip(column(rows, ROW), column(rows, LABEL), strict=True))
    texts = dict(zip(column(rows, ROW), digests(rows), strict=True)) if listed.digests else {}
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
        if place in listed.digests and texts[place] != listed.digests[place]:
            raise DataError(
                f"the text of row {place} of {file} is another than when {listed.name} was made",
                wanted="a list of this very file, with its columns of text as they were",
                fix="make the list anew",
            )


def without(rows: pa.Table, listed: Listed) -> pa.Table:
    """The rows that are not listed."""
    return rows.filter(pa.array([place not in listed.rows for place in column(rows, ROW)]))


def _spelled(label: object) -> str:
    return "|".join(spell(part) for part in label) if isinstance(label, list) else spell(label)
