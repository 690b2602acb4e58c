"""UBJSON, in which XGBoost saves: lengths and counts against the file, and texts."""

from collections.abc import Iterator
from struct import Struct

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed
from rootstock.sentinel.judge import texts
from rootstock.sentinel.parse.window import Cursor, Window
from rootstock.sentinel.source import Probe, Source

MAX_DEPTH = 128
MAX_TEXT = 8 << 20
INTEGERS = {b"i": Struct(">b"), b"U": Struct(">B"), b"I": Struct(">h"), b"l": Struct(">i"), b"L": Struct(">q")}
SIZES = {b"i": 1, b"U": 1, b"I": 2, b"l": 4, b"L": 8, b"d": 4, b"D": 8, b"C": 1, b"Z": 0, b"T": 0, b"F": 0, b"N": 0}


def recognises(probe: Probe) -> bool:
    """An object whose first key has a length; or the name."""
    return probe.name.endswith((".ubj", ".ubjson")) or (
        probe.head[:1] == b"{" and probe.head[1:2] in INTEGERS and b"\0" in probe.head[2:10]
    )


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Every value. Typed lists of numbers are passed over."""
    reader = _Reader(source, context)
    yield from reader.value("", reader.cursor.take(1), 0)


class _Reader:
    def __init__(self, source: Source, context: Context) -> None:
        self.source, self.context = source, context
        self.cursor = Cursor(Window(source))
        self.count = 0

    def value(self, key: str, kind: bytes, depth: int) -> Iterator[Finding]:
        self.count += 1
        if not self.count % 4096:
            self.context.check_time()
        if depth > MAX_DEPTH:
            raise LimitReached(f"values more than {MAX_DEPTH} deep in one another", rule_id="nesting", offset=self.cursor.position)
        if kind in (b"{", b"["):
            yield from self.container(key, kind == b"{", depth)
        elif kind in (b"S", b"H"):
            offset = self.cursor.position
            yield from texts.judge(key, self.text(), self.source, self.context, offset=offset)
        elif kind in SIZES:
            self.cursor.skip(SIZES[kind])
        else:
            raise Malformed(f"a value of the type {kind!r}, which is none", offset=self.cursor.position - 1)

    def length(self) -> int:
        kind = self.cursor.take(1)
        if kind not in INTEGERS:
            raise Malformed(f"a length of the type {kind!r}, which is none", offset=self.cursor.position - 1)
        value = int(self.cursor.read(INTEGERS[kind])[0])
        if value < 0:
            raise Malformed(f"the length {value}", offset=self.cursor.position)
        return value

    def text(self) -> str:
        size = self.length()
        if size > MAX_TEXT:
            raise LimitReached(f"a text of {size:,} bytes was not scanned", offset=self.cursor.position)
        return self.cursor.take(size).decode("utf-8", "replace")

    def container(self, key: str, mapping: bool, depth: int) -> Iterator[Finding]:
        kind, count = b"", -1
        if self.peek() == b"$":
            self.cursor.skip(1)
            kind = self.cursor.take(1)
        if self.peek() == b"#":
            self.cursor.skip(1)
            count = self.length()
            least = SIZES.get(kind, 1) + mapping * 2
            if count * least > self.source.size - self.cursor.position or (not least and count > 1 << 20):
                raise Malformed(f"{count:,} values are promised", rule_id="header-bomb", offset=self.cursor.position)
        elif kind:
            raise Malformed("values of one type without their number", offset=self.cursor.position)
        if kind in SIZES and not mapping:
            self.cursor.skip(count * SIZES[kind])
            return
        end = b"}" if mapping else b"]"
        while count != 0 and not (count < 0 and self.peek() == end):
            name = self.text() if mapping else key
            yield from self.value(name, kind or self.cursor.take(1), depth + 1)
            count -= count > 0
        if count < 0:
            self.cursor.skip(1)

    def peek(self) -> bytes:
        return self.cursor.window.near(self.cursor.position, 1)
