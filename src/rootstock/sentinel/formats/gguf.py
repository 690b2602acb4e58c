"""GGUF: counts, lengths and offsets against the file, and the chat templates within."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from struct import Struct

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.parse.window import Cursor, Window
from rootstock.sentinel.source import Probe, Source

MAGIC = b"GGUF"
LEGACY = (b"tjgg", b"fmgg", b"lmgg", b"algg", b"ggml", b"ggmf", b"ggjt", b"ggla")
MAX_TEXT = 16 << 20
MAX_KEYS, MAX_TENSORS, MAX_DIMENSIONS, MAX_NESTING = 1 << 20, 1 << 20, 8, 8
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, ARRAY = 8, 9
BLOCKS = {
    **{0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84), 11: (256, 110)},
    **{12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50)},
    **{20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8)},
    **{29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36)},
}
"""Values and bytes of a block, by the number of the tensor's type."""


def recognises(probe: Probe) -> bool:
    """By its magic number."""
    return probe.head[:4] == MAGIC or (probe.head[:4] in LEGACY and probe.size > 16 and not probe.head[:16].isascii())


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Header, every key and value, every tensor's place. The tensors' bytes are not read."""
    if source.read(0, 4) != MAGIC:
        yield finding(
            "gguf-bounds",
            source,
            f"a GGML file of a form before GGUF ({source.read(0, 4)!r}), which is not read here",
            severity="unscanned",
            offset=0,
        )
        return
    reader = _Reader(source, context)
    tensors, keys = reader.header()
    yield from reader.values(keys)
    yield from reader.tensors(tensors)


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    start: int
    size: int


class _Reader:
    def __init__(self, source: Source, context: Context) -> None:
        self.source, self.context = source, context
        self.cursor = Cursor(Window(source))
        self.order, self.wide, self.alignment = "<", True, 32
        self.seen: set[str] = set()

    def header(self) -> tuple[int, int]:
        version = int.from_bytes(self.source.read(4, 4), "little")
        if version & 0xFFFF == 0 and version:
            self.order, version = ">", int.from_bytes(self.source.read(4, 4), "big")
        if not 1 <= version <= 3:
            raise Malformed(f"version {version} of GGUF, which is none", rule_id="gguf-bounds", offset=4)
        self.wide = version > 1
        self.cursor.skip(8)
        tensors, keys = self.count(), self.count()
        left = self.source.size - self.cursor.position
        for count, what, least, most in ((tensors, "tensors", 24, MAX_TENSORS), (keys, "keys", 13, MAX_KEYS)):
            if count * least > left or count > most:
                raise Malformed(f"it promises {count:,} {what}, and has {left:,} bytes for them", rule_id="header-bomb", offset=8)
        return tensors, keys

    def number(self, letter: str) -> int:
        return int(self.cursor.read(Struct(self.order + letter))[0])

    def count(self) -> int:
        return self.number("Q" if self.wide else "I")

    def text(self) -> tuple[int, int]:
        """Where a text starts, and its length."""
        size, start = self.count(), self.cursor.position
        if size > self.source.size - start:
            raise Malformed(f"a text of {size:,} bytes in a file of {self.source.size:,}", rule_id="gguf-bounds", offset=start)
        self.cursor.skip(size)
        return start, size

    def string(self) -> str:
        start, size = self.text()
        if size > MAX_TEXT:
            raise LimitReached(f"a text of {size:,} bytes was not scanned", offset=start)
        return self.cursor.window.take(start, size).decode("utf-8", "replace")

    def values(self, count: int) -> Iterator[Finding]:
        for index in range(count):
            if not index % 1024:
                self.context.check_time()
            offset = self.cursor.position
            key = self.string()
            if key in self.seen:
                yield finding(
                    "duplicate-key", self.source, f"the key {key[:80]!r} occurs twice: readers differ in which one counts", offset=offset
                )
            self.seen.add(key)
            yield from self.value(key, self.number("I"), 0)

    def value(self, key: str, kind: int, depth: int) -> Iterator[Finding]:
        from rootstock.sentinel.judge import texts

        offset = self.cursor.position
        if kind == TEXT:
            yield from texts.judge(key, self.string(), self.source, self.context, offset=offset)
        elif kind == ARRAY:
            yield from self.array(key, depth)
        elif kind in SIZES:
            raw = self.cursor.take(SIZES[kind])
            if key == "general.alignment":
                yield from self.aligned(int.from_bytes(raw, "little" if self.order == "<" else "big"), offset)
        else:
            raise Malformed(f"the value of {key[:80]!r} has the type {kind}, which is none", rule_id="gguf-bounds", offset=offset)

    def aligned(self, alignment: int, offset: int) -> Iterator[Finding]:
        if not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            yield finding(
                "gguf-bounds", self.source, f"an alignment of {alignment:,} bytes, which is no power of two up to a million", offset=offset
            )
        else:
            self.alignment = alignment

    def array(self, key: str, depth: int) -> Iterator[Finding]:
        if depth >= MAX_NESTING:
            raise LimitReached(f"lists more than {MAX_NESTING} deep in one another", rule_id="nesting", offset=self.cursor.position)
        kind, count, start = self.number("I"), self.count(), self.cursor.position
        least = SIZES.get(kind, 12 if kind == ARRAY else 8 if self.wide else 4)
        if count * least > self.source.size - start:
            raise Malformed(
                f"the list {key[:80]!r} promises {count:,} values in {self.source.size - start:,} bytes",
                rule_id="header-bomb",
                offset=start,
            )
        if kind in SIZES:
            self.cursor.skip(count * SIZES[kind])
            return
        if kind not in (TEXT, ARRAY):
            raise Malformed(f"the list {key[:80]!r} has values of the type {kind}, which is none", rule_id="gguf-bounds", offset=start)
        vocabulary = key in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")
        for index in range(count):
            if not index % 4096:
                self.context.check_time()
            if vocabulary and kind == TEXT:
                self.text()
            else:
                yield from self.value(key, kind, depth + 1)

    def tensors(self, count: int) -> Iterator[Finding]:
        found: list[_Tensor] = []
        names: set[str] = set()
        for index in range(count):
            if not index % 1024:
                self.context.check_time()
            offset = self.cursor.position
            name = self.string()
            if name in names:
                yield finding("duplicate-key", self.source, f"two tensors have the name {name[:80]!r}", offset=offset)
            names.add(name)
            found.append(self.tensor(name, offset))
        yield from self.places(found)

    def tensor(self, name: str, offset: int) -> _Tensor:
        dimensions = self.number("I")
        if dimensions > MAX_DIMENSIONS:
            raise Malformed(f"tensor {name[:80]!r} has {dimensions:,} dimensions", rule_id="gguf-bounds", offset=offset)
        shape = [self.count() for _ in range(dimensions)]
        kind, start = self.number("I"), self.number("Q")
        if kind not in BLOCKS:
            raise Malformed(f"tensor {name[:80]!r} has the type {kind}, which is not known here", rule_id="gguf-bounds", offset=offset)
        values, size = BLOCKS[kind]
        if shape and shape[0] % values:
            raise Malformed(
                f"tensor {name[:80]!r} has rows of {shape[0]:,} values in blocks of {values}", rule_id="gguf-bounds", offset=offset
            )
        return _Tensor(name, start, prod(shape) // values * size)

    def places(self, tensors: list[_Tensor]) -> Iterator[Finding]:
        """Every tensor within the file, none upon another, and nothing but padding between and after them."""
        base = position = -(-self.cursor.position // self.alignment) * self.alignment
        for tensor in sorted(tensors, key=lambda each: each.start):
            start, end = base + tensor.start, base + tensor.start + tensor.size
            if end > self.source.size or tensor.start % self.alignment:
                where = "lies outside of the file" if end > self.source.size else "does not lie on the file's alignment"
                yield finding(
                    "gguf-bounds",
                    self.source,
                    f"tensor {tensor.name[:80]!r} of {tensor.size:,} bytes {where}",
                    offset=min(start, self.source.size),
                )
                return
            if start < position and tensor.size:
                yield finding("gguf-bounds", self.source, f"tensor {tensor.name[:80]!r} lies upon another one", offset=start)
            yield from self.gap(position, start)
            position = max(position, -(-end // self.alignment) * self.alignment, end)
        if not tensors:
            position = min(base, self.cursor.position)
        last = base + max((each.start + each.size for each in tensors), default=0)
        yield from self.gap(min(last, self.source.size) if tensors else position, self.source.size)

    def gap(self, start: int, end: int) -> Iterator[Finding]:
        """Zeros are padding; anything else has no business there."""
        if end <= start:
            return
        part = self.source.part(start, end - start, member=f"bytes of no tensor at {start}")
        filled = any(any(chunk) for chunk in part.chunks())
        if filled or end - start > max(self.alignment, 1 << 16):
            yield finding(
                "hidden-bytes", self.source, f"{end - start:,} bytes{'' if filled else ' of zeros'} belong to no tensor", offset=start
            )
        if filled:
            yield from (each for each in self.context.nested(part) if each.rule != "unknown-format")
