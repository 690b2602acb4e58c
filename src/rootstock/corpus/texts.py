"""Text files as units: what one document is made of, found without parsing it, so that those that a build has read already cost little.

No file is in memory as a whole: packed ones are unpacked as they are read, lines and records have an upper length, and a long text is given
in pieces. Nothing is guessed: text is UTF-8, or what its byte-order mark says, or a broken record.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from rootstock.core.errors import DataError, nearest
from rootstock.data.dialect import find_delimiter, find_quoting

PIECE = 256 * 2**10
"""Bytes of a text file that make one document, about 45,000 English words: rules for web text drop what has more than 100,000. A longer
file gives several, each cut at a blank line, or else at a line's end."""
LONGEST = 64 * 2**20
"""Bytes of a line, and letters of a CSV field; what is longer is a broken record."""
_CHUNK = 2**16
"""Bytes unpacked at a time; where zstd data is damaged the chunk before is lost with it, so no more than that."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
Fields = Sequence[str]
"""Names under which the text may stand, the first that is there wins."""


class Broken(Exception):
    """A record that can't be used. reason: the rule, and more about this record after a colon. raw: what it begins with."""

    def __init__(self, reason: str, raw: bytes | str = b"") -> None:
        super().__init__(reason)
        self.reason, self.raw = reason, raw[:2000]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one record is made of. mark: its place in the file, such as ":17"; make: gives its text, or raises Broken."""

    mark: str
    make: "partial[str]"

    @property
    def size(self) -> int:
        """Bytes or letters that its text is made of, known without making it."""
        values = (value for each in self.make.args for value in (each.values() if isinstance(each, dict) else [each]))
        return sum(len(value) for value in values if isinstance(value, bytes | str))


def broken(mark: str, error: Broken) -> Unit:
    """A unit that is known to be broken before it is parsed."""
    return Unit(mark, partial(_raise, error))


def _raise(error: Broken) -> str:
    raise error


_PACKERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda raw: pa.CompressedInputStream(raw, "zstd"),
}
"""How to unpack by the first bytes, whatever the name says."""


def unpacker(path: Path) -> Callable[[Any], Any] | None:
    """What unpacks a file, or None where it is not packed."""
    with path.open("rb") as raw:
        head = raw.read(6)
    return next((opener for magic, opener in _PACKERS.items() if head.startswith(magic)), None)


class Stream(io.RawIOBase):
    """A file's bytes, unpacked; marked UTF-16 and UTF-32 become UTF-8 where it is read as text.

    It never raises: where the file is damaged it ends, with all that came before, and `damage` says why.
    """

    def __init__(self, path: Path, *, text: bool = True) -> None:
        self.damage = ""
        self._given = 0
        self._rest = memoryview(b"")
        self._chunks = _as_utf8(_chunks(path)) if text else _chunks(path)

    def buffered(self) -> io.BufferedReader:
        """The same with a buffer, for lines."""
        return io.BufferedReader(self, _CHUNK)

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes given so far."""
        return self._given

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer."""
        while not self._rest:
            chunk = self._next()
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self._given += size
        return size

    def close(self) -> None:
        """Close the file."""
        self._chunks.close()
        super().close()

    def _next(self) -> bytes | None:
        try:
            return next(self._chunks, None)
        except EOFError:
            self.damage = "cut off: the packed data ends too early"
        except (OSError, zlib.error, lzma.LZMAError, UnicodeDecodeError) as error:
            reason = str(error).split("\n")[0]
            self.damage = f"cut off: {reason}" if "runcated" in reason else f"damaged: {reason}"
        return None


def _chunks(path: Path) -> Generator[bytes, None, None]:
    opener = unpacker(path)
    with path.open("rb") as raw, opener(raw) if opener else nullcontext(raw) as inner:
        while chunk := inner.read1(_CHUNK):
            yield chunk


def _as_utf8(chunks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    first = b""
    while len(first) < 4 and (chunk := next(chunks, b"")):  # the longest mark has four
        first += chunk
    mark, codec = next((each for each in _MARKS if first.startswith(each[0])), (b"", "utf-8"))
    if codec == "utf-8":
        yield first[len(mark) :]
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(codec)()
    for chunk in chain([first], chunks):
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


class Lines:
    """Lines of a file as bytes. Raises Broken for one that is too long, and once where the file ends too early; then it goes on."""

    def __init__(self, path: Path) -> None:
        self.number = 0
        self._stream = Stream(path)
        self._buffer = self._stream.buffered()

    def __next__(self) -> bytes:
        line = self._buffer.readline(LONGEST)
        self.number += 1
        if line.endswith(b"\n"):
            return line
        if len(line) == LONGEST:
            while (more := self._buffer.readline(_CHUNK)) and not more.endswith(b"\n"):
                pass
            raise Broken(f"too long: a line of more than {LONGEST // 2**20} MB", line)
        if self._stream.damage:
            damage, self._stream.damage = self._stream.damage, ""
            raise Broken(damage, line)
        if not line:
            raise StopIteration
        return line

    def sample(self) -> str:
        """The first lines, without taking them."""
        begin = self._buffer.peek(_CHUNK)[:_CHUNK].decode("utf-8", "ignore")
        return begin[: begin.rfind("\n") + 1] or begin


def utf8(data: bytes) -> str:
    """Bytes as text. Broken where they are not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Broken(f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start:,}", data) from None


def plain(data: bytes) -> str:
    """A text file's bytes as text. Broken where it holds a NUL byte."""
    if b"\0" in data:
        raise _binary(data)
    return utf8(data)


def _binary(data: bytes) -> Broken:
    return Broken(f"binary: a NUL byte at offset {data.index(0):,}", data)


def pieces(path: Path, make: Callable[[bytes], str]) -> Iterator[Unit]:
    """A text file as one document, or as several where it is longer than PIECE. One that begins with NUL bytes is a broken record."""
    stream = Stream(path)
    buffer = stream.buffered()
    data, number, more = b"", 0, True
    while more:
        data += buffer.read(PIECE - len(data))
        more = len(data) == PIECE
        number += 1
        mark = f":{number}" if more or number > 1 else ""
        damage = stream.damage if not more else ""
        if damage or (number == 1 and b"\0" in data):
            yield broken(mark, Broken(damage, data) if damage else _binary(data))
            return
        cut = _border(data) if more else len(data)
        if data:
            yield Unit(mark, partial(make, data[:cut]))
        data = data[cut:]


def _border(data: bytes) -> int:
    """Where to cut a piece: after a blank line, a line or a word of its second half, or at least not inside a letter."""
    for mark in (b"\n\n", b"\n", b" "):
        cut = data.rfind(mark, len(data) // 2)
        if cut >= 0:
            return cut + len(mark)
    cut = len(data) - 1
    while data[cut] & 0xC0 == 0x80 and cut > len(data) - 4:
        cut -= 1
    return cut


def jsonl(path: Path, fields: Fields) -> Iterator[Unit]:
    """One object a line; blank lines are no records."""
    lines = Lines(path)
    while True:
        try:
            line = next(lines)
        except StopIteration:
            return
        except Broken as error:
            yield broken(f":{lines.number}", error)
            continue
        if not line.isspace():
            yield Unit(f":{lines.number}", partial(_from_json, line, fields))


def _from_json(line: bytes, fields: Fields) -> str:
    text = utf8(line)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise Broken(f"no JSON: {error}", line) from None
    if not isinstance(value, dict):
        raise Broken("no JSON object", line)
    return field_of(value, fields)


def field_of(row: Mapping[str, Any], fields: Fields) -> str:
    """The text of a row. Broken where there is none."""
    name = next((each for each in fields if row.get(each) is not None), None)
    if name is None:
        empty = next((each for each in fields if each in row), None)
        reason = f"null: the field {empty!r}" if empty else f"no text field: only {', '.join(map(repr, list(row)[:8])) or 'none at all'}"
        raise Broken(reason, str(row)[:2000])
    value = row[name]
    if not isinstance(value, str):
        raise Broken(f"no text: the field {name!r} holds a {type(value).__name__}", str(row)[:2000])
    return whole(value)


def whole(text: str) -> str:
    """A text of whole letters. Broken where it holds half of a surrogate pair, which no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Broken(f"half a surrogate pair: at letter {error.start:,}", text[error.start :]) from None
    return text


def column_of(names: Sequence[str], fields: Fields, where: str) -> int:
    """The place of the column that holds the text. Raises DataError where there is none."""
    folded = [name.strip().casefold() for name in names]
    place = next((folded.index(each.casefold()) for each in fields if each.casefold() in folded), None)
    if place is None:
        near = nearest(fields[0], names)
        shown = ", ".join(name.encode("utf-8", "replace").decode() for name in names[:20])
        raise DataError(
            f"{where}: no column is named {' or '.join(fields)}; there are {shown}",
            wanted="the column that holds the text",
            fix=f"--text {near!r}" if near else "name it with --text NAME",
        )
    return place


class _CsvLines:
    """Lines as the csv module wants them; bytes that are not UTF-8 become lone surrogates, which are found in the cell that matters.

    The lines after the first of a record that turned out broken can be given once more: a quote that never closes takes no others along.
    """

    def __init__(self, lines: Lines) -> None:
        self.number = 0
        self.held: list[str] = []
        self._lines = lines
        self._again: deque[str] = deque()

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        self.number += 1
        line = self._again.popleft() if self._again else next(self._lines).decode("utf-8", "surrogateescape")
        self.held.append(line)
        return line

    def back(self) -> None:
        """Give the held lines but the first again."""
        self.number -= len(self.held) - 1
        self._again.extendleft(reversed(self.held[1:]))


def delimited(path: Path, fields: Fields, kind: str) -> Iterator[Unit]:
    """The rows of a CSV or TSV whose first line names the columns. A ragged or wrongly quoted row is a broken record."""
    place, width = -1, 0
    for mark, row in _rows(path, kind):
        if isinstance(row, Broken):
            if place < 0:
                raise DataError(f"{path}: the header can't be read: {row.reason}", wanted="a first line that names the columns")
            yield broken(mark, row)
        elif place < 0:
            place, width = column_of(row, fields, str(path)), len(row)
        elif len(row) != width:
            found = f"{len(row)} field{'s' if len(row) > 1 else ''} where the header has {width}"
            yield broken(mark, Broken(f"ragged row: {found}", ",".join(row)[:2000]))
        else:
            yield Unit(mark, partial(_cell, row[place]))


def _cell(text: str) -> str:
    if text.isascii():
        return text
    return utf8(text.encode("utf-8", "surrogateescape"))


def _rows(path: Path, kind: str) -> Iterator[tuple[str, list[str] | Broken]]:
    """The line on which each record begins, and its cells; blank lines are left out."""
    lines = Lines(path)
    sample = lines.sample()
    delimiter = find_delimiter(sample, kind)
    quoted = find_quoting(sample, delimiter, setting="auto")
    text = _CsvLines(lines)
    reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=True)
    while True:
        mark = f":{text.number + 1}"
        text.held = []
        try:
            row = _next_row(reader)
        except StopIteration:
            return
        except Broken as error:
            yield mark, error
        except csv.Error as error:
            raw = "".join(text.held)[:2000]
            text.back()
            yield mark, Broken(f"wrongly quoted row: {error}", raw)
        else:
            if row:
                yield mark, row


def _next_row(reader: Iterator[list[str]]) -> list[str]:
    """The csv module refuses fields over 128 KiB, which a long document is."""
    before = csv.field_size_limit(LONGEST // 4)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)
