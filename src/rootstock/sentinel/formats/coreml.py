"""Core ML: layers and models of classes that the app must bring, linked models, code in metadata."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import paths, texts
from rootstock.sentinel.parse.protobuf import BYTES, VARINT, Message, fits, message
from rootstock.sentinel.source import Probe, Source

KINDS = (
    tuple(range(200, 206))
    + tuple(range(300, 306))
    + tuple(range(400, 406))
    + (500, 501, 502, 555, 556, 560, 600, 601, 602, 603, 604, 606, 607, 609)
)
KINDS += (900, 1000, 2000, 2001, 2002, 2003, 2004, 2005, 2006)
SCHEMA = {1: VARINT, 2: BYTES, 10: VARINT, **dict.fromkeys(KINDS, BYTES)}
NETWORKS, PIPELINES, CUSTOM, LINKED, PROGRAM = (303, 403, 500), (200, 201, 202), 555, 556, 502


def recognises(probe: Probe) -> bool:
    """A version, a description and a model of a known kind; or the name."""
    if probe.name.endswith(".mlmodel"):
        return True
    return probe.head[:1] == b"\x08" and probe.size > 8 and fits(probe.head, probe.size, SCHEMA, needed=frozenset(KINDS))


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The model and those within it."""
    yield from _model(message(source), source, context)


def _model(model: Message, source: Source, context: Context) -> Iterator[Finding]:
    context.check_time()
    for field in model.fields():
        if field.wire != BYTES:
            continue
        part = model.inner(field)
        if field.number == 2:
            yield from _description(part, source, context)
        elif field.number in NETWORKS:
            yield from _network(part, source, context)
        elif field.number in PIPELINES:
            yield from _pipeline(part, source, context, nested=field.number != 202)
        elif field.number == CUSTOM:
            yield from _custom(part, "the model", source, context)
        elif field.number == LINKED:
            for text in (each for inner in part.of(1) for file in inner.of(1, 2) if (each := file.text(1) or file.text(2))):
                why = paths.escapes(text) or "is not in this file"
                yield finding("config-path", source, f"the model lies at {text[:120]!r}, which {why}", offset=field.start)


def _pipeline(part: Message, source: Source, context: Context, *, nested: bool) -> Iterator[Finding]:
    for pipeline in part.of(1) if nested else (part,):
        for model in pipeline.of(1):
            yield from _model(model, source, context)


def _network(network: Message, source: Source, context: Context) -> Iterator[Finding]:
    for layer in network.of(1):
        for custom in layer.of(500):
            yield from _custom(custom, f"the layer {layer.text(1)[:60]!r}", source, context)


def _custom(custom: Message, what: str, source: Source, context: Context) -> Iterator[Finding]:
    yield finding(
        "coreml-custom", source, f"{what} is of the class {custom.text(10)[:80]!r}, which the app must bring", offset=custom.start
    )
    yield from texts.judge("description", custom.text(40), source, context, offset=custom.start)


def _description(description: Message, source: Source, context: Context) -> Iterator[Finding]:
    for metadata in description.of(100):
        for number in (1, 2, 3, 4):
            yield from texts.judge("metadata", metadata.text(number), source, context, offset=metadata.start)
        for entry in metadata.of(100):
            yield from texts.judge(entry.text(1) or "metadata", entry.text(2), source, context, offset=entry.start)
