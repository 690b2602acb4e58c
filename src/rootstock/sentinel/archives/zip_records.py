"""The records of a zip file, read from the central directory and beside each of them the local header, which may say something else."""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.source import Source

LOCAL, CENTRAL, END, END64, LOCATOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL = Struct("<4s5H3L2H")
_CENTRAL = Struct("<4s6H3L5H2L")
_END = Struct("<4s4H2LH")
_END64 = Struct("<4sQ2H2L4Q")
MAX64 = 0xFFFFFFFF
DIRECTORY_BYTES = 256 << 20
_STRETCH = 1 << 20


@dataclass(frozen=True)
class End:
    """Where the central directory lies. shift: bytes before the archive. at: of the closing record. others: further closing records."""

    directory: int
    size: int
    count: int
    shift: int
    at: int
    after: int
    others: int


@dataclass(frozen=True)
class Header:
    """One member as one of its two headers has it. data: where its bytes begin."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    data: int = 0
    attributes: int = 0
    system: int = 0
    other_name: str = ""
    """The name of the Unicode path field, where there is one: some readers take it instead."""


def find_end(source: Source) -> End | None:
    """The closing record that readers take: the last one that is whole."""
    tail, start = source.probe.tail, max(0, source.size - len(source.probe.tail))
    found = [at for at in _occurrences(tail, END) if at + 22 <= len(tail) and _fits(tail, at)]
    if not found:
        return None
    at = found[-1]
    _, _, _, _, count, size, directory, comment = _END.unpack_from(tail, at)
    position = start + at
    plain = (directory, size, count)
    ends, (directory, size, count) = _end64(source, position, plain)
    differs = any(value not in (wide, MAX64, 0xFFFF) for value, wide in zip(plain, (directory, size, count), strict=True))
    shift = ends - size - directory
    others = sum(directory + shift <= start + each < position for each in found[:-1]) + differs
    return End(directory + shift, size, count, shift, position, source.size - position - 22 - comment, others)


def archives(source: Source, context: Context) -> Iterator[Source]:
    """The zip files that lie in a source one after the other, up to what is none: each as a member of its own."""
    start = 0
    while (end := _first_end(source, start, context)) is not None:
        yield source.part(start, end - start, member=f"zip at {start}")
        start = end
    if start < source.size:
        yield source.part(start, source.size - start, member=f"bytes at {start}")


def _first_end(source: Source, start: int, context: Context) -> int | None:
    """Behind the first closing record whose directory lies right before it, counted from `start`; raw numbers may look like one."""
    if not source.read(start, 4).startswith(LOCAL):
        return None
    for base in range(start, source.size, _STRETCH):
        context.check_time()
        block = source.read(base, _STRETCH + _END.size)
        for at in _occurrences(block, END):
            if at + _END.size > len(block):
                break
            *_, size, directory, comment = _END.unpack_from(block, at)
            position = base + at
            ends, (directory, size, _) = _wider(source, start, position, (directory, size, 0))
            if start + directory + size == ends:
                return position + _END.size + int(comment)
    return None


def _wider(source: Source, start: int, position: int, plain: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
    """As `_end64`, of an archive that begins at `start`: its offsets count from there."""
    inner = source.part(start, source.size - start)
    try:
        ends, fields = _end64(inner, position - start, plain)
    except Malformed:
        return position, plain
    return ends + start, fields


def _fits(tail: bytes, at: int) -> bool:
    return at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") <= len(tail)


def _occurrences(data: bytes, what: bytes) -> Iterator[int]:
    at = data.find(what)
    while at >= 0:
        yield at
        at = data.find(what, at + 1)


def _end64(source: Source, position: int, plain: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
    """Where the directory ends, and offset, size and count of it: of the zip64 record where there is one, as readers do."""
    locator = source.read(position - 20, 20)
    if not locator.startswith(LOCATOR):
        return position, plain
    claimed = int.from_bytes(locator[8:16], "little")
    for at in (claimed, position - 20 - _END64.size):
        record = source.read(at, _END64.size)
        if len(record) == _END64.size and record.startswith(END64):
            *_, count, size, directory = _END64.unpack(record)
            return at, (directory, size, count)
    raise Malformed("the zip64 closing record is missing", offset=position)


def central(source: Source, end: End) -> Iterator[Header]:
    """The members as the central directory lists them."""
    if end.size > DIRECTORY_BYTES or end.directory < 0 or end.directory + end.size > source.size:
        raise Malformed(f"its directory claims {end.size:,} bytes at {end.directory:,}", offset=end.at)
    data, at = source.read(end.directory, end.size), 0
    while at + _CENTRAL.size <= len(data) and data.startswith(CENTRAL, at):
        fields = _CENTRAL.unpack_from(data, at)
        _, made, _, flags, method, _, _, crc, packed, size, name, extra, comment, _, _, attributes, offset = fields
        after = at + _CENTRAL.size + name
        size, packed, offset = _wide(data[after : after + extra], [size, packed, offset])
        text = _text(data[at + _CENTRAL.size : after], flags)
        yield Header(
            text, flags, method, crc, packed, size, offset + end.shift, 0, attributes, made >> 8, _other_name(data[after : after + extra])
        )
        at = after + extra + comment
    if at != len(data):
        raise Malformed("its directory is damaged", offset=end.directory + at)


def local(source: Source, offset: int) -> Header | None:
    """The local header at an offset; None where there is none."""
    head = source.read(offset, _LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(LOCAL):
        return None
    _, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(head)
    rest = source.read(offset + _LOCAL.size, name + extra)
    size, packed, _ = _wide(rest[name:], [size, packed, 0])
    return Header(_text(rest[:name], flags), flags, method, crc, packed, size, offset, offset + _LOCAL.size + name + extra)


def _text(raw: bytes, flags: int) -> str:
    return raw.decode("utf-8" if flags & 0x800 else "cp437", "replace")


def _other_name(extra: bytes) -> str:
    """The text of an Info-ZIP Unicode path field; empty where there is none."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == 0x7075:
            return extra[at + 9 : at + 4 + length].decode("utf-8", "replace")
        at += 4 + length
    return ""


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """Sizes and offset of zip64, for those that stand as 0xFFFFFFFF."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            for i, plain in enumerate(values):
                if plain == MAX64 and len(field) >= 8:
                    values[i], field = int.from_bytes(field[:8], "little"), field[8:]
        at += 4 + length
    return values
