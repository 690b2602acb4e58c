"""CSV, TSV and their relatives: delimiter, quoting and header are found, lines are counted exactly."""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import islice

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data.header import column_names, has_header
from rootstock.data.tables import Parsed, build

Records = tuple[list[list[str]], list[int]]
"""Fields of each record, and the line on which it begins."""

_DELIMITERS = {"csv": ",;\t|", "tsv": "\t", "txt": "\t,;|"}
_SPOKEN = {"\t": "tabs", "": "no delimiter", ",": "commas", ";": "semicolons", "|": "bars"}
_SAMPLE = 200
_WHOLE_CELL = re.compile(r'(?<![^\t\n])"(?:[^"\t\n]|"")*+"(?![^\t\n])')


def read_delimited(text: str, name: str, *, settings: DataSettings, kind: str) -> Parsed:
    """A table of string columns. `kind` is csv, tsv, or txt for a file whose name tells no delimiter.

    Raises DataError for ragged records, unpaired quotes, duplicate names, and files without a row.
    """
    delimiter = _find_delimiter(text, kind)
    quoted = _find_quoting(text, delimiter, setting=settings.quoting)
    records, lines = _quoted(text, delimiter, name=name) if quoted else _unquoted(text, delimiter)
    records, lines, blank = _without_blank(records, lines)
    if not records:
        raise DataError(f"{name} holds only blank lines", wanted="a file with rows")
    _check_widths(records, lines, name=name, delimiter=delimiter)
    header = settings.header == "yes" or (settings.header == "auto" and has_header(records[:_SAMPLE]))
    names = column_names(records[0], name) if header else [f"column_{place}" for place in range(1, len(records[0]) + 1)]
    if header and len(records) == 1:
        raise DataError(f"{name} holds only a header ({', '.join(names)})", wanted="rows below it", fix="set data.header=no if it is a row")
    body, lines = (records[1:], lines[1:]) if header else (records, lines)
    table, notes = build(dict(zip(names, zip(*body, strict=True), strict=True)), lines, name=name)
    remarks = [_describe(delimiter, len(names), header=header)]
    if not quoted and '"' in text:
        remarks.append("quotes are read as letters")
    if blank:
        remarks.append(f"{blank} blank lines skipped")
    return Parsed(table, "tsv" if delimiter == "\t" else "csv" if delimiter else "txt", (*remarks, *notes))


def _describe(delimiter: str, width: int, *, header: bool) -> str:
    named = {"\t": "TSV", ",": "CSV", "": "lines of text"}.get(delimiter) or f"CSV with {_SPOKEN[delimiter]}"
    return f"{named} {'with' if header else 'without'} a header, {width} column{'s' if width > 1 else ''}"


def _find_delimiter(text: str, kind: str) -> str:
    """The first candidate that gives every sampled record the same number of fields, more than one."""
    for mark in _DELIMITERS[kind]:
        widths = _widths(text, mark)
        if len(widths) == 1 and max(widths) > 1 and not (kind == "txt" and _prose(text, mark)):
            return mark
    first = text.lstrip("\r\n").split("\n", 1)[0]
    if kind == "txt":
        return "\t" if "\t" in first else ""
    return next((mark for mark in _DELIMITERS[kind] if mark in first), _DELIMITERS[kind][0])


def _widths(text: str, mark: str) -> set[int]:
    if mark == "\t":  # unpaired quotes are common in TSV and would swallow lines
        plain = {line.count(mark) + 1 for line in _lines(text, _SAMPLE) if line}
        if len(plain) == 1:
            return plain
    try:
        return {len(record) for record in islice(csv.reader(StringIO(text, newline=""), delimiter=mark), _SAMPLE) if record}
    except csv.Error:
        return set()


def _prose(text: str, mark: str) -> bool:
    """In sentences a blank follows the comma; in a table hardly ever."""
    sample = text[:20_000]
    return mark in ",;" and sample.count(mark + " ") * 2 >= sample.count(mark)


def _find_quoting(text: str, delimiter: str, *, setting: str) -> bool:
    if setting != "auto" or '"' not in text or delimiter == "":
        return setting == "yes" and delimiter != ""
    if delimiter != "\t":
        return True
    whole = _newlines(text)
    widths = {line.count("\t") for line in whole.split("\n") if line}
    if len(widths) == 1:
        return '"' not in _WHOLE_CELL.sub("", whole)
    try:
        return len({len(record) for record in csv.reader(StringIO(text, newline=""), delimiter="\t", strict=True) if record}) == 1
    except csv.Error:
        return False


def _newlines(text: str) -> str:
    text = text.replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")


def _lines(text: str, count: int) -> list[str]:
    """The first lines, ends removed."""
    return _newlines("\n".join(text.split("\n", count)[:count])).split("\n")


@contextmanager
def _any_length() -> Iterator[None]:
    """The csv module refuses fields over 128 KiB, which a long document is."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quoted(text: str, delimiter: str, *, name: str) -> Records:
    records: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    with _any_length():
        try:
            for record in reader:
                records.append(record)
                lines.append(begin)
                begin = reader.line_num + 1
        except csv.Error as error:
            never = "unexpected end" in str(error)
            raise DataError(
                f"{name}, line {begin}: {'a quote opens here and never closes' if never else str(error)}",
                wanted='fields in double quotes, with each inner " doubled',
                fix="correct the line, or set data.quoting=no where quotes are ordinary letters",
            ) from None
    return records, lines


def _unquoted(text: str, delimiter: str) -> Records:
    lines = _newlines(text).split("\n")
    records = [line.split(delimiter) for line in lines] if delimiter else [[line] for line in lines]
    return records, list(range(1, len(records) + 1))


def _without_blank(records: list[list[str]], lines: list[int]) -> tuple[list[list[str]], list[int], int]:
    """Records that hold something; the end of the last line does not count as a blank one."""
    kept = [index for index, record in enumerate(records) if len(record) > 1 or (record and record[0].strip())]
    if len(kept) == len(records):
        return records, lines, 0
    blank = (kept[-1] + 1 if kept else 0) - len(kept)
    return [records[index] for index in kept], [lines[index] for index in kept], blank


def _check_widths(records: list[list[str]], lines: list[int], *, name: str, delimiter: str) -> None:
    width = len(records[0])
    if set(map(len, records)) == {width}:
        return
    ragged = [index for index, record in enumerate(records) if len(record) != width]
    first, more = ragged[0], len(ragged) - 1
    raise DataError(
        f"{name}, line {lines[first]}: found {len(records[first])} fields" + (f" (and {more} more such lines)" if more else ""),
        wanted=f"{width} fields between {_SPOKEN[delimiter]}, as in line {lines[0]}",
        fix="correct the line; in CSV a field that holds the delimiter stands in double quotes (data.quoting, data.format)",
    )
