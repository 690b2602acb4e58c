"""Small reads from a source through one buffer, with bounds: what headers and tables are read through."""

from struct import Struct, calcsize, unpack_from
from typing import Any

from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.source import Source

BUFFER_BYTES = 1 << 16


class Window:
    """Bytes of a source from any offset; the last stretch that was read is kept."""

    def __init__(self, source: Source, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.source, self.size, self.buffer_bytes = source, source.size, buffer_bytes
        self._base, self._buffer = 0, b""

    def take(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes. Raises Malformed where the source ends before them."""
        start = offset - self._base
        if start < 0 or start + count > len(self._buffer):
            if count < 0 or offset < 0 or offset + count > self.size:
                raise Malformed(f"{count:,} bytes from byte {offset:,} on lie outside of its {self.size:,} bytes", offset=max(offset, 0))
            self._base, self._buffer = offset, self.source.read(offset, max(count, self.buffer_bytes))
            start = 0
        return self._buffer[start : start + count]

    def near(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes: fewer at the end."""
        return self.take(offset, max(0, min(count, self.size - offset)))

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        """Fields of a struct layout. Raises Malformed where the source ends before them."""
        return unpack_from(layout, self.take(offset, calcsize(layout)))

    def number(self, offset: int, size: int) -> int:
        """A little-endian natural number of 1 to 8 bytes."""
        return int.from_bytes(self.take(offset, size), "little")


class Cursor:
    """A window with a position that moves on with every read, and an end that it may not pass."""

    def __init__(self, window: Window, position: int = 0, end: int | None = None) -> None:
        self.window, self.position = window, position
        self.end = window.size if end is None else end

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self.check(count)
        data = self.window.take(self.position, count)
        self.position += count
        return data

    def read(self, layout: Struct) -> tuple[Any, ...]:
        """The next fields of a struct layout."""
        return layout.unpack(self.take(layout.size))

    def skip(self, count: int) -> None:
        """Pass over bytes without reading them."""
        self.check(count)
        self.position += count

    def check(self, count: int) -> None:
        """Raises Malformed where fewer than `count` bytes are left."""
        if count < 0 or count > self.end - self.position:
            raise Malformed(
                f"{count:,} bytes are promised at byte {self.position:,}, {max(0, self.end - self.position):,} are left",
                offset=self.position,
            )
