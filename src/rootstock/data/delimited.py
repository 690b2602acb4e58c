"""CSV, TSV and their relatives as columns: ragged records are found, lines are counted exactly.

Records are turned into columns chunk by chunk: a million lists at once would keep the garbage collector busy half of the time.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice

import numpy as np
import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data.dialect import SPOKEN, find_delimiter, find_quoting, newlines
from rootstock.data.header import column_names, has_header
from rootstock.data.tables import Parsed, numbered, strings

Records = list[list[str]]
Chunk = tuple[Records, list[int]]
"""Fields of some records, and the line on which each begins."""

_CHUNK, _SAMPLE = 10_000, 1_000
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass
class _Columns:
    """What was read so far."""

    names: list[str]
    header_line: int
    parts: list[list[pa.Array]]
    lines: list[int] = field(default_factory=list)
    ragged: list[tuple[int, int]] = field(default_factory=list)
    """Line and number of fields of each record of another width."""

    def add(self, records: Records, lines: list[int], *, name: str) -> None:
        """Append records; those of another width are only noted."""
        if set(map(len, records)) - {len(self.names)}:
            self.ragged += [(line, len(each)) for each, line in zip(records, lines, strict=True) if len(each) != len(self.names)]
            return
        for column, part, values in zip(self.names, self.parts, zip(*records, strict=True), strict=False):
            part.append(strings(values, f"{name}: column {column!r}"))
        self.lines += lines

    def check(self, name: str, delimiter: str) -> None:
        """Raise DataError for ragged records, or where there are none at all."""
        if self.ragged:
            (line, found), more = self.ragged[0], len(self.ragged) - 1
            raise DataError(
                f"{name}, line {line}: found {found} field{'s' if found > 1 else ''}" + (f" (and {more} more such lines)" if more else ""),
                wanted=f"{len(self.names)} fields between {SPOKEN[delimiter]}, as in line {self.header_line}",
                fix="correct the line; in CSV a field that holds the delimiter stands in double quotes (data.quoting, data.format)",
            )
        if not self.lines:
            raise DataError(
                f"{name} holds only a header ({', '.join(self.names)})", wanted="rows below it", fix="set data.header=no if it is a row"
            )


def read_delimited(text: str, name: str, *, settings: DataSettings, kind: str) -> Parsed:
    """A table of string columns. `kind` is csv, tsv, or txt for a file whose name tells no delimiter.

    Raises DataError for ragged records, unpaired quotes, duplicate names, and files without a row.
    """
    delimiter = find_delimiter(text, kind)
    quoted = find_quoting(text, delimiter, setting=settings.quoting)
    chunks = _quoted(text, delimiter, name=name) if quoted else _unquoted(text, delimiter)
    columns: _Columns | None = None
    blank = 0
    for chunk in chunks:
        records, lines = _without_blank(*chunk)
        blank += len(chunk[0]) - len(records)
        if columns is None and records:
            columns, records, lines = _begin(records, lines, name=name, setting=settings.header)
        if columns is not None and records:
            columns.add(records, lines, name=name)
    if columns is None:
        raise DataError(f"{name} holds only blank lines", wanted="a file with rows")
    columns.check(name, delimiter)
    return _finish(columns, delimiter, remarks=_remarks(text, blank, quoted=quoted))


def _begin(records: Records, lines: list[int], *, name: str, setting: str) -> tuple[_Columns, Records, list[int]]:
    """Empty columns under their names, and the records below the header."""
    header = setting == "yes" or (setting == "auto" and has_header(records[:_SAMPLE]))
    width = len(records[0])
    names = column_names(records[0], name) if header else [f"column_{place}" for place in range(1, width + 1)]
    columns = _Columns(names, lines[0], [[] for _ in names])
    return (columns, records[1:], lines[1:]) if header else (columns, records, lines)


def _finish(columns: _Columns, delimiter: str, *, remarks: list[str]) -> Parsed:
    arrays = [pa.chunked_array(part, pa.string()) for part in columns.parts]
    table, renamed = numbered(pa.table(arrays, names=columns.names), np.asarray(columns.lines, dtype=np.int64))
    headed = "with" if columns.lines[0] > columns.header_line else "without"
    width = len(columns.names)
    shape = {"\t": "TSV", ",": "CSV", "": "lines of text"}.get(delimiter) or f"CSV with {SPOKEN[delimiter]}"
    note = f"{shape} {headed} a header, {width} column{'s' if width > 1 else ''}"
    return Parsed(table, "tsv" if delimiter == "\t" else "csv" if delimiter else "txt", (note, *remarks, *renamed))


def _remarks(text: str, blank: int, *, quoted: bool) -> list[str]:
    remarks = ["quotes are read as letters"] if not quoted and '"' in text else []
    return [*remarks, f"{blank} blank line{'s' if blank > 1 else ''} skipped"] if blank else remarks


@contextmanager
def _any_length() -> Iterator[None]:
    """The csv module refuses fields over 128 KiB, which a long document is."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quoted(text: str, delimiter: str, *, name: str) -> Iterator[Chunk]:
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin, more = 1, True
    while more:
        records: Records = []
        try:
            with _any_length():
                records.extend(islice(reader, _CHUNK))
        except csv.Error as error:
            raise _misquoted(error, f"{name}, line {begin + sum(map(_height, records))}") from None
        end = reader.line_num + 1
        more = len(records) == _CHUNK
        if end - begin == len(records):
            yield records, list(range(begin, end))
        else:
            heights = np.cumsum([0, *map(_height, records)])
            yield records, (begin + heights[:-1]).tolist()
        begin = end


def _height(record: list[str]) -> int:
    """Lines that a record stands on."""
    return 1 + sum(len(_LINE_END.findall(cell)) for cell in record)


def _misquoted(error: csv.Error, where: str) -> DataError:
    never = "unexpected end" in str(error)
    return DataError(
        f"{where}: {'a quote opens here and never closes' if never else error}",
        wanted='fields in double quotes, with each inner " doubled',
        fix="correct the line, or set data.quoting=no where quotes are ordinary letters",
    )


def _unquoted(text: str, delimiter: str) -> Iterator[Chunk]:
    lines = newlines(text).split("\n")
    if not lines[-1]:
        lines.pop()
    for start in range(0, len(lines), _CHUNK):
        part = lines[start : start + _CHUNK]
        yield [line.split(delimiter) if delimiter else [line] for line in part], list(range(start + 1, start + 1 + len(part)))


def _without_blank(records: Records, lines: list[int]) -> Chunk:
    kept = [index for index, record in enumerate(records) if len(record) > 1 or (record and record[0].strip())]
    if len(kept) == len(records):
        return records, lines
    return [records[index] for index in kept], [lines[index] for index in kept]
