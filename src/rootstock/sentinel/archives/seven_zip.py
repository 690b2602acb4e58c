"""The tables of a 7z archive: where its packed streams lie, by what they are packed, and what files they hold."""

import lzma
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import unpack
from typing import Any

from rootstock.sentinel.archives.unpack import lzma_filter
from rootstock.sentinel.findings import LimitReached, Malformed

END, HEADER, STREAMS, FILES, PACK, UNPACK, PARTS = 0, 1, 4, 5, 6, 7, 8
SIZES, DIGESTS, FOLDERS, UNPACK_SIZES, COUNTS, EMPTY, NAMES, ATTRIBUTES, ENCODED = 9, 10, 11, 12, 13, 14, 17, 21, 23
MOST = 1_000_000
BRANCHES = {
    b"\x03\x03\x01\x03": lzma.FILTER_X86,
    b"\x04": lzma.FILTER_X86,
    b"\x05": lzma.FILTER_POWERPC,
    b"\x07": lzma.FILTER_ARM,
    b"\x08": lzma.FILTER_ARMTHUMB,
}
LZMA, LZMA2, DELTA, COPY, DEFLATE, BZIP2 = b"\x03\x01\x01", b"\x21", b"\x03", b"\0", b"\x04\x01\x08", b"\x04\x02\x02"


@dataclass
class Folder:
    """Coders (id, properties) in the order of unpacking, and the bytes that each gives. parts: sizes of the files in turn."""

    coders: list[tuple[bytes, bytes]]
    outputs: int
    sizes: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return self.sizes[-1]


@dataclass
class Tables:
    """All of an archive's tables. empty: whether a file has no bytes."""

    start: int = 0
    packed: list[int] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    empty: list[bool] = field(default_factory=list)
    attributes: list[int] = field(default_factory=list)


class Reader:
    """A cursor over a header. Raises Malformed at its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise Malformed("its header ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """A number whose first byte tells by its leading ones how many follow."""
        first, value = self.byte(), 0
        for i in range(8):
            mask = 0x80 >> i
            if not first & mask:
                return value + ((first & (mask - 1)) << (8 * i))
            value |= self.byte() << (8 * i)
        return value

    def count(self) -> int:
        """A number of things."""
        value = self.number()
        if value > MOST:
            raise LimitReached(f"a table claims {value:,} entries; it was not scanned")
        return value

    def bits(self, count: int) -> list[bool]:
        """One bit a thing."""
        raw = self.take((count + 7) // 8)
        return [bool(raw[i // 8] & (0x80 >> i % 8)) for i in range(count)]

    def digests(self, count: int) -> list[bool]:
        """Checksums, which are passed over; for which things there are some."""
        defined = [True] * count if self.byte() else self.bits(count)
        self.take(4 * sum(defined))
        return defined


def streams(reader: Reader, tables: Tables) -> None:
    """The tables of packed streams, folders and parts."""
    steps: dict[int, Callable[[Reader, Tables], None]] = {PACK: _pack, UNPACK: _unpack, PARTS: _parts}
    while (kind := reader.number()) != END:
        if kind not in steps:
            raise Malformed(f"a table of the unknown kind {kind}")
        steps[kind](reader, tables)
    for folder in tables.folders:
        folder.parts = folder.parts or [folder.size]


def _pack(reader: Reader, tables: Tables) -> None:
    tables.start, count = reader.number(), reader.count()
    while (kind := reader.number()) != END:
        if kind == SIZES:
            tables.packed = [reader.number() for _ in range(count)]
        else:
            reader.digests(count)


def _unpack(reader: Reader, tables: Tables) -> None:
    while (kind := reader.number()) != END:
        if kind == FOLDERS:
            count = reader.count()
            if reader.byte():
                raise LimitReached("its tables lie elsewhere; it was not scanned", rule_id="not-unpacked")
            tables.folders = [_folder(reader) for _ in range(count)]
        elif kind == UNPACK_SIZES:
            for folder in tables.folders:
                folder.sizes = [reader.number() for _ in range(folder.outputs)]
        else:
            reader.digests(len(tables.folders))


def _folder(reader: Reader) -> Folder:
    coders, inputs, outputs = [], 0, 0
    for _ in range(reader.count()):
        flags = reader.byte()
        name = reader.take(flags & 15)
        into, out = (reader.count(), reader.count()) if flags & 0x10 else (1, 1)
        coders.append((name, reader.take(reader.number()) if flags & 0x20 else b""))
        inputs, outputs = inputs + into, outputs + out
    for _ in range(2 * (outputs - 1)):
        reader.number()
    if inputs != outputs or not coders:
        raise LimitReached("it is packed by a method of several streams, which is not unpacked here", rule_id="not-unpacked")
    return Folder(coders, outputs)


def _parts(reader: Reader, tables: Tables) -> None:
    counts = [1] * len(tables.folders)
    while (kind := reader.number()) != END:
        if kind == COUNTS:
            counts = [reader.count() for _ in tables.folders]
        elif kind == SIZES:
            for folder, count in zip(tables.folders, counts, strict=True):
                sizes = [reader.number() for _ in range(count - 1)]
                folder.parts = [*sizes, folder.size - sum(sizes)] if count else []
        elif kind == DIGESTS:
            reader.digests(sum(counts))
    for folder, count in zip(tables.folders, counts, strict=True):
        folder.parts = folder.parts if count != 1 else [folder.size]


def files(reader: Reader, tables: Tables) -> None:
    """Names, attributes, and which files have no bytes."""
    count = reader.count()
    tables.empty, tables.attributes = [False] * count, [0] * count
    while (kind := reader.number()) != END:
        inner = Reader(reader.take(reader.number()))
        if kind == EMPTY:
            tables.empty = inner.bits(count)
        elif kind == NAMES and not inner.byte():
            tables.names = inner.data[1:].decode("utf-16-le", "replace").split("\0")[:count]
        elif kind == ATTRIBUTES:
            defined = [True] * count if inner.byte() else inner.bits(count)
            inner.byte()
            tables.attributes = [unpack("<I", inner.take(4))[0] if each else 0 for each in defined]


def decompressor(folder: Folder) -> Callable[[], Any] | str:
    """How to make a decompressor for a folder: a maker, or the name of a kind of unpack.MAKERS."""
    names = [name for name, _ in folder.coders]
    if names in ([COPY], [DEFLATE], [BZIP2]):
        return {COPY: "copy", DEFLATE: "deflate", BZIP2: "bzip2"}[names[0]]
    if names[0] not in (LZMA, LZMA2) or not set(names[1:]) <= {*BRANCHES, DELTA}:
        raise LimitReached(
            f"it is packed by {' and '.join(name.hex() for name in names)}, which is not unpacked here", rule_id="not-unpacked"
        )
    filters = [_filter(name, properties) for name, properties in reversed(folder.coders)]
    return lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)


def _filter(name: bytes, properties: bytes) -> dict[str, Any]:
    if name in BRANCHES:
        return {"id": BRANCHES[name]}
    kind = {LZMA: lzma.FILTER_LZMA1, LZMA2: lzma.FILTER_LZMA2, DELTA: lzma.FILTER_DELTA}[name]
    return lzma_filter(kind, properties)
