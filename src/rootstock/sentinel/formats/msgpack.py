"""MessagePack, and flax checkpoints in it: extension types that carry objects, keys that have a loader rebuild one."""

from collections.abc import Generator, Iterator
from struct import Struct

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.parse.window import Cursor, Window
from rootstock.sentinel.source import Probe, Source

MAX_DEPTH = 128
MAX_TEXT = 1 << 20
FLAX = {1: "an array", 2: "a complex number", 3: "a scalar"}
_SIZES = {1: Struct(">B"), 2: Struct(">H"), 4: Struct(">I")}
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, **{0xCC + i: 1 << i for i in range(4)}, **{0xD0 + i: 1 << i for i in range(4)}}


def recognises(probe: Probe) -> bool:
    """A map whose first key is a text; or the name."""
    head = probe.head
    if probe.name.endswith((".msgpack", ".mpk", ".flax")):
        return True
    if not head:
        return False
    key = 1 if 0x81 <= head[0] <= 0x8F else 3 if head[0] == 0xDE else 5 if head[0] == 0xDF else 0
    if not key or len(head) < key + 2:
        return False
    size = head[key] - 0xA0
    return 0 < size < 32 and head[key + 1 : key + 1 + size].isascii() and head[key + 1 : key + 1 + size].decode("latin1").isprintable()


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Every value. Bytes of arrays are passed over."""
    reader = _Reader(source, context)
    yield from reader.value("", 0)
    if (rest := source.size - reader.cursor.position) > 0:
        part = source.part(reader.cursor.position, rest, member="trailing bytes")
        yield finding("hidden-bytes", source, f"{rest:,} bytes follow the last value", offset=reader.cursor.position)
        yield from (each for each in context.nested(part) if each.rule != "unknown-format")


class _Reader:
    def __init__(self, source: Source, context: Context, start: int = 0, end: int | None = None) -> None:
        self.source, self.context = source, context
        self.cursor = Cursor(Window(source), start, end)
        self.count = 0

    def value(self, key: str, depth: int) -> Iterator[Finding]:
        """One value; `key` names the text before it."""
        self.count += 1
        if not self.count % 4096:
            self.context.check_time()
        if depth > MAX_DEPTH:
            raise LimitReached(f"values more than {MAX_DEPTH} deep in one another", rule_id="nesting", offset=self.cursor.position)
        code = self.cursor.take(1)[0]
        if code <= 0x7F or code >= 0xE0:
            return
        if 0x80 <= code <= 0x9F or 0xDC <= code <= 0xDF:
            yield from self.container(code, key, depth)
        elif 0xA0 <= code <= 0xBF or 0xD9 <= code <= 0xDB:
            yield from self.text(code, key)
        elif 0xC4 <= code <= 0xC6:
            yield from self.binary(self.size(1 << code - 0xC4), key)
        elif 0xC7 <= code <= 0xC9 or 0xD4 <= code <= 0xD8:
            yield from self.extension(self.size(1 << code - 0xC7) if code <= 0xC9 else 1 << code - 0xD4, key)
        elif code in _FIXED:
            self.cursor.skip(_FIXED[code])
        else:
            raise Malformed(f"a value of the type {code:#x}, which is none", offset=self.cursor.position - 1)

    def size(self, width: int) -> int:
        return int(self.cursor.read(_SIZES[width])[0])

    def container(self, code: int, key: str, depth: int) -> Iterator[Finding]:
        mapping = code <= 0x8F or code >= 0xDE
        count = code & 15 if code <= 0x9F else self.size(2 if code in (0xDC, 0xDE) else 4)
        if count * (1 + mapping) > self.cursor.end - self.cursor.position:
            raise Malformed(f"{count:,} values are promised", rule_id="header-bomb", offset=self.cursor.position)
        seen: set[str] = set()
        for _ in range(count):
            name = key
            if mapping:
                name = yield from self.key(seen, depth)
            yield from self.value(name, depth + 1)

    def key(self, seen: set[str], depth: int) -> Generator[Finding, None, str]:
        offset = self.cursor.position
        code = self.cursor.take(1)[0]
        if not (0xA0 <= code <= 0xBF or 0xD9 <= code <= 0xDB):
            self.cursor.position = offset
            yield from self.value("", depth + 1)
            return ""
        name = self.take_text(code)
        if name in seen:
            yield finding(
                "duplicate-key", self.source, f"the key {name[:80]!r} occurs twice: readers differ in which one counts", offset=offset
            )
        seen.add(name)
        yield from texts.judge(name, "", self.source, self.context, offset=offset)
        return name

    def take_text(self, code: int) -> str:
        size = code & 31 if code <= 0xBF else self.size(1 << code - 0xD9)
        if size > MAX_TEXT:
            raise LimitReached(f"a text of {size:,} bytes was not scanned", offset=self.cursor.position)
        return self.cursor.take(size).decode("utf-8", "replace")

    def text(self, code: int, key: str) -> Iterator[Finding]:
        offset = self.cursor.position
        yield from texts.judge(key, self.take_text(code), self.source, self.context, offset=offset)

    def binary(self, size: int, key: str) -> Iterator[Finding]:
        start = self.cursor.position
        self.cursor.skip(size)
        yield from self.hidden(start, size, key)

    def hidden(self, start: int, size: int, key: str) -> Iterator[Finding]:
        """A pickle or an archive in a value. Weights begin with anything, so that only what is found counts."""
        if self.source.read(start, 2)[:1] in (b"\x80", b"P", b"\x7f", b"c") and size > 8:
            part = self.source.part(start, size, member=key[:40] or "bytes")
            yield from (each for each in self.context.nested(part) if each.severity == "malicious")

    def extension(self, size: int, key: str) -> Iterator[Finding]:
        kind, start = int.from_bytes(self.cursor.take(1), "big", signed=True), self.cursor.position
        self.cursor.skip(size)
        if kind == -1:
            return
        if kind not in FLAX:
            what = f"{key[:60]!r} has the extension type {kind}, for which a loader needs code of its own"
            yield finding("msgpack-extension", self.source, what, offset=start)
        elif kind in (1, 3) and self.source.read(start, 1) != b"\x93":
            yield finding("msgpack-extension", self.source, f"{key[:60]!r} says that it is {FLAX[kind]}, and is none", offset=start)
        else:
            return
        part = self.source.part(start, size, member=f"extension {kind}")
        yield from (each for each in self.context.nested(part) if each.rule != "unknown-format")
