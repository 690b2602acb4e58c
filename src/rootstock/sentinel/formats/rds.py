"""R's serialised objects: promises, calls and functions, which R evaluates when they are touched (CVE-2024-27322)."""

from collections.abc import Iterator
from struct import Struct

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, Severity, finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.parse.window import Cursor, Window
from rootstock.sentinel.source import Probe, Source

HEADS = (b"X\n\0\0\0\x02", b"X\n\0\0\0\x03", b"RDX2\n", b"RDX3\n")
OTHER_HEADS = (b"A\n2\n", b"A\n3\n", b"RDA2\n", b"RDA3\n", b"B\n\x02\0", b"B\n\x03\0")
INTEGER = Struct(">i")
LISTS = {2: "", 5: "a promise", 6: "a call", 3: "a function", 17: "", 239: "", 240: "a call", 241: "", 242: ""}
EMPTY = frozenset((251, 252, 253, 254, 242, 241))
NUMBERS = {10: 4, 13: 4, 14: 8, 15: 16, 24: 1}


def recognises(probe: Probe) -> bool:
    """By the first line of R's serial form."""
    return probe.head.startswith(HEADS + OTHER_HEADS)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Every object until one of a kind that is not read here, then the bytes as they are."""
    if not source.read(0, 8).startswith(HEADS):
        yield finding("r-object", source, "R objects in a form that is not read here", severity="unscanned")
    else:
        yield from _Reader(source, context).findings()
    yield from texts.code_in(source, context, "the file")


class _Reader:
    """Reads the serial form with a stack of its own, so that no depth can exhaust Python's."""

    def __init__(self, source: Source, context: Context) -> None:
        self.source, self.context = source, context
        start = 5 if source.read(0, 2) == b"RD" else 0
        self.cursor = Cursor(Window(source), start + 2)
        version = self.integer()
        self.cursor.skip(8)
        if version == 3:
            self.cursor.skip(self.natural())
        self.left = 1

    def integer(self) -> int:
        return int(self.cursor.read(INTEGER)[0])

    def natural(self) -> int:
        value = self.integer()
        if value < 0:
            raise Malformed(f"the length {value}", offset=self.cursor.position)
        return value

    def findings(self) -> Iterator[Finding]:
        count = 0
        while self.left:
            count += 1
            if not count % 4096:
                self.context.check_time()
            self.left -= 1
            yield from self.item()

    def item(self) -> Iterator[Finding]:
        offset, flags = self.cursor.position, self.integer()
        kind, attributes, tag = flags & 255, bool(flags & 512), bool(flags & 1024)
        if what := LISTS.get(kind):
            severity: Severity = "malicious" if kind == 5 else "suspicious"
            yield finding("r-object", self.source, f"it holds {what}, which R evaluates", offset=offset, severity=severity)
        if kind in EMPTY and kind not in (241, 242):
            return
        if kind in LISTS:
            self.left += 2 + attributes + tag
        elif kind == 1:
            self.left += 1
        elif kind == 255:
            self.cursor.skip(4 if flags >> 8 == 0 else 0)
        elif kind == 4:
            self.cursor.skip(4)
            self.left += 4
        else:
            self.vector(kind, attributes, offset)

    def vector(self, kind: int, attributes: bool, offset: int) -> None:
        if kind == 9:
            size = self.integer()
            self.cursor.skip(max(size, 0))
        elif kind in NUMBERS:
            self.cursor.skip(self.natural() * NUMBERS[kind])
        elif kind in (16, 19, 20):
            count = self.natural()
            self.cursor.check(count)
            self.left += count
        elif kind == 238:
            self.left += 3
            attributes = False
        elif kind != 25:
            raise Malformed(f"an R object of the kind {kind}, which is not read here", rule_id="r-object", offset=offset)
        self.left += attributes and kind != 9
