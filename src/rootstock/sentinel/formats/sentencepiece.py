"""sentencepiece models: tables that rewrite what the user wrote, pieces that are there twice."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import tokenizers
from rootstock.sentinel.parse.protobuf import BYTES, Message, fits, message
from rootstock.sentinel.source import Probe, Source

SCHEMA = {1: BYTES, 2: BYTES, 3: BYTES, 4: BYTES, 5: BYTES}


def recognises(probe: Probe) -> bool:
    """A message whose first piece has a text and a score."""
    head = probe.head
    return (
        head[:1] == b"\x0a"
        and head[2:3] == b"\x0a"
        and fits(head, probe.size, SCHEMA, needed=frozenset((1,)))
        and head[4 + head[3] : 5 + head[3]] == b"\x15"
    )


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Pieces, then the tables that turn characters into others."""
    seen: set[str] = set()
    model = message(source)
    for count, field in enumerate(model.fields()):
        if not count % 4096:
            context.check_time()
        if field.wire != BYTES:
            continue
        if field.number == 1:
            text = model.inner(field).text(1)
            if text in seen:
                yield finding("tokenizer-swapped", source, f"the piece {text[:60]!r} is there twice", offset=field.start)
            seen.add(text)
        elif field.number in (3, 5):
            yield from _normalizer(model.inner(field), source)


def _normalizer(spec: Message, source: Source) -> Iterator[Finding]:
    for field in spec.fields():
        if field.wire == BYTES and field.number == 2:
            yield from tokenizers.charsmap(spec.bytes_of(field), "the table of characters", source)
        elif field.number == 6 and field.end > field.start:
            yield finding("tokenizer-rewrites", source, f"rewriting rules of its own: {spec.text_of(field)[:80]!r}", offset=field.start)
