"""Pickles in bytes: one after the other, with what each of them holds."""

from collections.abc import Iterator
from dataclasses import dataclass

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, finding
from rootstock.sentinel.pickles.machine import AWAY, Broken, Global, Machine
from rootstock.sentinel.pickles.steps import prepare
from rootstock.sentinel.source import Source

BOMB_ITEMS, BOMB_RATIO = 1e8, 1000
"""A pickle whose values, written out, would be this many and this many times its bytes."""

DEEP = 2000
"""Python's own pickler gives up long before this depth."""

MOST_NAMED = 40
"""Findings of one rule in one pickle that are listed one by one."""

PADDING = (b"\0", b"\t", b"\n", b"\r", b" ")
MOST_PADDING = 1 << 16
PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
PROGRAMS = (b"\x7fELF", b"MZ", b"\x1f\x8b\x08", b"#!/", b"\xcf\xfa\xed\xfe", b"BZh9", b"\xfd7zXZ")
"""What is scanned behind a pickle though it is none; raw numbers of torch's old files stand there as well."""

FIRST = frozenset(b"\x80(])}cildIJKMNSTUVXBCFGL\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96\x88\x89PgQ")
"""Bytes that a pickle can begin with; one without PROTO can begin with any opcode that needs no stack."""


@dataclass(frozen=True)
class Told:
    """What one run came to. end: behind its STOP, or where it broke."""

    machine: Machine
    end: int
    broken: str = ""
    limit: LimitReached | None = None


def follow(source: Source, context: Context, start: int = 0) -> Told:
    """Run the machine once from an offset."""
    machine = prepare(Machine(source, context, start))

    def spawn(offset: int) -> int:
        inner = follow(source, context, offset)
        machine.found += inner.machine.found
        machine.nested += inner.machine.nested
        if inner.limit:
            raise inner.limit
        if inner.broken:
            raise Broken(inner.broken)
        return inner.end

    machine.spawn = spawn
    try:
        return Told(machine, machine.run())
    except Broken as broken:
        return Told(machine, _where(machine), broken.what)
    except LimitReached as limit:
        return Told(machine, _where(machine), limit=limit)


def _where(machine: Machine) -> int:
    position = machine.resume if machine.position >= AWAY else machine.position
    return machine.base + position


def looks_like_one(head: bytes, size: int, context: Context) -> bool:
    """Whether bytes begin with a pickle: by what a run over them comes to, since old protocols have no magic.

    A run that imports, calls or reaches a STOP behind which nothing or a further pickle follows is one. So is PROTO and one valid opcode.
    """
    if not head or head[0] not in FIRST:
        return False
    told = follow(Source("", size, lambda at, count: head[at : at + count]), context)
    machine = told.machine
    cut = len(head) < size and bool(told.broken) and _ran_out(told, len(head))
    if head[0] == 0x80 and len(head) > 1:
        return told.end > 2 or machine.done or (2 <= head[1] <= 5 and len(head) < 16)
    if machine.calls and machine.globals:
        return True
    return (machine.done and (bool(machine.globals) or told.end == size)) or cut


def _ran_out(told: Told, length: int) -> bool:
    return told.end >= length - 600


def scan(source: Source, context: Context, start: int = 0) -> Iterator[Finding]:
    """Everything in the pickles that follow one another from an offset on."""
    at, count = start, 0
    while at < source.size:
        told = follow(source, context, at)
        count += 1
        if count == 1 and _is_text(told, source.read(start, 1)):
            return
        yield from findings(told, source, at)
        for nested in told.machine.nested:
            yield from context.nested(nested)
        if told.limit:
            raise told.limit
        at = told.end
        if told.broken:
            return
        if source.read(at, 1) in PADDING:
            at += _padding(source.read(at, MOST_PADDING))
        if not looks_like_one(source.read(at, 1 << 16), source.size - at, context):
            break
        context.check_time()
    if at < source.size and source.read(at, 8).startswith(PROGRAMS):
        yield from context.nested(source.part(at, source.size - at, member="behind the pickle"))


def _padding(rest: bytes) -> int:
    """Bytes to skip to the next pickle, where zeros or white space lead to one that says what it is."""
    skipped = len(rest) - len(rest.lstrip(b"\0\t\n\r "))
    return skipped if rest[skipped : skipped + 1] == b"\x80" and rest[skipped + 1 : skipped + 2] in PROTOCOLS else 0


def _is_text(told: Told, first: bytes) -> bool:
    """Whether a run came to nothing that an unpickler would carry out: a text whose first letters are opcodes by chance."""
    names = [each for each in told.machine.about.values() if isinstance(each, Global)]
    importable = any(each.name and each.module.partition(".")[0].isidentifier() for each in names)
    return bool(told.broken) and not told.machine.calls and first != b"\x80" and not importable


def findings(told: Told, source: Source, start: int) -> Iterator[Finding]:
    """One for each rule and text, at its first place."""
    first: dict[tuple[str, str], int] = {}
    for rule, offset, what in told.machine.found:
        first.setdefault((rule, what), offset)
    counts: dict[str, int] = {}
    for (rule, what), offset in first.items():
        counts[rule] = counts.get(rule, 0) + 1
        if counts[rule] <= MOST_NAMED:
            yield finding(rule, source, what, offset=offset)
    for rule, count in counts.items():
        if count > MOST_NAMED:
            yield finding(rule, source, f"and {count - MOST_NAMED} more of this kind", offset=start)
    yield from _shape(told, source, start)
    if told.broken:
        yield finding("pickle-broken", source, f"the stream breaks: {told.broken}", offset=told.end)


def _shape(told: Told, source: Source, start: int) -> Iterator[Finding]:
    """Bombs: values that are small as a stream and huge when walked over."""
    machine = told.machine
    largest, deepest = max(machine.sizes, default=0), max(machine.depths, default=0)
    if largest > max(BOMB_ITEMS, BOMB_RATIO * (told.end - start)):
        yield finding("pickle-bomb", source, f"its values share parts so that, written out, they are {largest:.0e} items", offset=start)
    if deepest > DEEP:
        yield finding("pickle-depth", source, f"its values are nested {deepest:,} deep, which ends a reader's stack", offset=start)
