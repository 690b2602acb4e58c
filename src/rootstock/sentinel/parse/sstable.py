"""Sorted tables of keys and values as LevelDB and TensorFlow write them (leveldb's doc/table_format.md), each checksum held to its block.

A table ends with a footer: where the index block lies and a magic number. Blocks hold entries whose keys share a beginning with the one
before, then the places of restarts. Blocks that are packed with snappy are not read: TensorFlow writes none.
"""

from collections.abc import Iterator
from functools import cache

from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.source import Source

FOOTER = 48
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
MOST_BLOCK = 64 << 20
MOST_ENTRIES = 2_000_000
_TRAILER = 5
_DELTA = 0xA282EAD8


def recognises(source: Source) -> bool:
    """Whether a file ends as a table does."""
    return source.size >= FOOTER and source.read(source.size - 8, 8) == MAGIC


def entries(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """Every key and value in order. Raises Malformed for what is no whole table, LimitReached for one that is too large."""
    if not recognises(source):
        raise Malformed("it does not end as a table does", offset=max(0, source.size - 8))
    footer = source.read(source.size - FOOTER, FOOTER)
    _, at = _handle(footer, 0, source)
    index, _ = _handle(footer, at, source)
    count, before = 0, None
    for _, place in _block(source, *index):
        block, _ = _handle(place, 0, source)
        for key, value in _block(source, *block):
            count += 1
            if count > MOST_ENTRIES:
                raise LimitReached(f"a table of more than {MOST_ENTRIES:,} entries was not read further", offset=block[0])
            if before is not None and key <= before:
                raise Malformed("the keys of a table are not in order, or occur twice", offset=block[0])
            before = key
            yield key, value


def _handle(data: bytes, at: int, source: Source) -> tuple[tuple[int, int], int]:
    """Where a block lies and how long it is, within the file before its footer."""
    start, at = _varint(data, at)
    size, at = _varint(data, at)
    if start + size + _TRAILER > source.size - FOOTER:
        raise Malformed(f"a block of {size:,} bytes at {start:,} reaches beyond the table", offset=start)
    if size > MOST_BLOCK:
        raise LimitReached(f"a block of {size:,} bytes was not read", offset=start)
    return (start, size), at


def _block(source: Source, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    data, trailer = source.read(start, size), source.read(start + size, _TRAILER)
    if trailer[0] != 0:
        raise Malformed(f"a block is packed{' with snappy' if trailer[0] == 1 else ''}, which is not read", offset=start)
    if masked(crc32c(data + trailer[:1])) != int.from_bytes(trailer[1:], "little"):
        raise Malformed("the checksum of a block is wrong", offset=start)
    if size < 4:
        raise Malformed("a block without restarts", offset=start)
    restarts = int.from_bytes(data[-4:], "little")
    end = size - 4 - 4 * restarts
    if end < 0:
        raise Malformed(f"a block with {restarts:,} restarts, more than it has room for", offset=start)
    key, at = b"", 0
    while at < end:
        shared, at = _varint(data, at)
        own, at = _varint(data, at)
        length, at = _varint(data, at)
        if shared > len(key) or at + own + length > end:
            raise Malformed("an entry reaches beyond its block", offset=start + at)
        key = key[:shared] + data[at : at + own]
        yield key, data[at + own : at + own + length]
        at += own + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed("a number that does not end")


def masked(checksum: int) -> int:
    """A checksum as it is written, so that one of bytes that hold checksums does not fall together with theirs."""
    return (((checksum >> 15) | (checksum << 17)) + _DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)
