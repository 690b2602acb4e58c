"""FlatBuffers without a schema: tables, fields by number, every offset checked against the file."""

from collections.abc import Iterator
from dataclasses import dataclass

from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.parse.window import Window
from rootstock.sentinel.source import Source

MAX_TEXT = 1 << 20
MAX_ITEMS = 4_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table at a position."""

    window: Window
    at: int

    def field(self, number: int) -> int:
        """Where a field lies, 0 where it is left out."""
        table = self.at - int.from_bytes(self.window.take(self.at, 4), "little", signed=True)
        size = self.window.number(table, 2)
        slot = 4 + 2 * number
        if slot + 2 > size:
            return 0
        offset = self.window.number(table + slot, 2)
        return self.at + offset if offset else 0

    def number(self, number: int, size: int) -> int:
        """A natural number, 0 where it is left out."""
        at = self.field(number)
        return self.window.number(at, size) if at else 0

    def vector(self, number: int, item: int = 1) -> tuple[int, int]:
        """Where a vector's items start, and how many they are. Raises Malformed where they do not lie in the file."""
        at = self.field(number)
        if not at:
            return 0, 0
        start = self._follow(at)
        count = self.window.number(start, 4)
        if start + 4 + count * item > self.window.size:
            raise Malformed(f"{count:,} items in a file of {self.window.size:,} bytes", rule_id="header-bomb", offset=start)
        return start + 4, count

    def text(self, number: int) -> str:
        """A text, empty where it is left out."""
        start, size = self.vector(number)
        if size > MAX_TEXT:
            raise LimitReached(f"a text of {size:,} bytes was not scanned", offset=start)
        return self.window.take(start, size).decode("utf-8", "replace") if size else ""

    def tables(self, number: int) -> Iterator["Table"]:
        """The tables of a vector."""
        start, count = self.vector(number, 4)
        if count > MAX_ITEMS:
            raise LimitReached(f"{count:,} tables, of which at most {MAX_ITEMS:,} are read", offset=start)
        for index in range(count):
            yield Table(self.window, self._follow(start + 4 * index))

    def _follow(self, at: int) -> int:
        target = at + self.window.number(at, 4)
        if target + 4 > self.window.size:
            raise Malformed("an offset that leads out of the file", offset=at)
        return target


def root(source: Source) -> Table:
    """The root table."""
    window = Window(source)
    at = window.number(0, 4)
    if not 4 <= at <= source.size - 4:
        raise Malformed("the root lies outside of the file", offset=0)
    return Table(window, at)
