"""Bytes from disk to text: gzip is unpacked, the encoding is checked and never guessed."""

import codecs
import gzip
import zlib
from difflib import get_close_matches
from pathlib import Path

from rootstock.core.errors import DataError

_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte-order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32 with a byte-order mark"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32 with a byte-order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 with a byte-order mark"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 with a byte-order mark"),
)
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x89PNG": "an image",
    b"\x80\x04": "a Python pickle",
}


def fetch(path: Path, name: str) -> tuple[bytes, tuple[str, ...]]:
    """A file's bytes, unpacked if they are gzip whatever the name says, and what was noticed.

    Raises DataError for a missing, unreadable, empty or damaged file.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path, name) from None
    except IsADirectoryError:
        raise DataError(f"{name} is a folder", wanted="a file", fix="name one of its files") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{name} can't be read: {error}", fix="check the name and the permissions") from None
    notes: tuple[str, ...] = ()
    if data.startswith(_GZIP):
        data, notes = _unpack(data, name), ("packed with gzip",)
    if not data.strip():
        raise DataError(f"{name} is empty", wanted="a file with rows", fix="write or fetch it again")
    return data, notes


def _unpack(data: bytes, name: str) -> bytes:
    try:
        return gzip.decompress(data)
    except EOFError:
        raise DataError(f"{name} is cut off: the gzip stream ends too early", fix="fetch or copy the file again") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{name} is damaged: {error}", wanted="a whole gzip file", fix="fetch or copy the file again") from None


def missing(path: Path, name: str) -> DataError:
    """The error for a path where there is nothing, with the nearest names that exist."""
    if path.exists():
        return DataError(f"{name} is a file", wanted="a folder", fix="set data.format to the file's format, or to auto")
    folder = path.parent
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return DataError(f"{name} does not exist: there is no folder {folder}", wanted="a data file, or hf:NAME for a data set of the hub")
    stems = {name.split(".")[0]: name for name in reversed(names)}
    near = [stems[stem] for stem in get_close_matches(path.name.split(".")[0], list(stems), n=3, cutoff=0.6)]
    return DataError(
        f"{name} does not exist",
        wanted="a data file, a folder of class folders, hf:NAME for a data set of the hub, or stdlib-docs",
        fix=f"did you mean {' or '.join(near)}?" if near else "check the name",
    )


def decode(data: bytes, name: str, *, encoding: str) -> tuple[str, tuple[str, ...]]:
    """Text of a file's bytes. Raises DataError with offset and line for a byte that does not belong, and for NUL."""
    note: tuple[str, ...] = ()
    if encoding == "auto":
        encoding, found = next(((codec, note) for mark, codec, note in _MARKS if data.startswith(mark)), ("utf-8", ""))
        note = (found,) if found else ()
    elif encoding.lower() not in ("utf-8", "utf8"):
        note = (f"encoding {encoding}, as set",)
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _undecodable(data, name, error) from None
    except (LookupError, ValueError) as error:
        raise DataError(
            f"data.encoding: {error}", wanted="an encoding that Python knows, such as utf-8, latin-1, cp1252 or utf-16"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{name}, line {line}: found a NUL byte; the file is {_foreign(data) or 'binary, or text in an unmarked encoding'}",
            wanted="text",
            fix="give the right format with --set data.format=…, or set data.encoding (e.g. utf-16-le)",
        )
    return text, note


def _undecodable(data: bytes, name: str, error: UnicodeDecodeError) -> DataError:
    foreign = _foreign(data)
    if foreign:
        return DataError(f"{name} is {foreign}", wanted="text, Parquet or Arrow", fix="unpack or export it first")
    line = data.count(b"\n", 0, error.start) + 1
    found = data[error.start : error.start + 1].hex()
    return DataError(
        f"{name}, line {line}: byte 0x{found} at offset {error.start} is not {error.encoding}",
        wanted=f"text in {error.encoding}",
        fix="set the encoding, e.g. --set data.encoding=latin-1, or convert the file to UTF-8",
    )


def _foreign(data: bytes) -> str:
    if data[257:262] == b"ustar":
        return "a tar archive"
    return next((what for magic, what in _FOREIGN.items() if data.startswith(magic)), "")
