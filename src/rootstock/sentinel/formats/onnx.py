"""ONNX: external data, operators of other domains, operators that run Python, code in metadata, tensors that are not what they say."""

from collections.abc import Iterator
from math import prod
from pathlib import PurePosixPath

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.judge import neighbours, shell, texts
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.parse.protobuf import BYTES, VARINT, Field, Message, fits, message, signed
from rootstock.sentinel.source import Probe, Source

SCHEMA = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES, 8: BYTES, 14: BYTES, 20: BYTES, 25: BYTES, 26: BYTES}
GRAPH, OPSETS, METADATA, TRAINING, FUNCTIONS = 7, 8, 14, 20, 25
DOMAINS = words(
    "ai.onnx ai.onnx.ml ai.onnx.training ai.onnx.preview ai.onnx.preview.training com.microsoft com.microsoft.nchwc"
    " com.microsoft.experimental com.microsoft.dml com.ms.internal.nhwc ai.onnx.onnxscript org.pytorch.aten"
) | {""}
"""Domains whose operators come with the runtime. Others come from a library that somebody has to load."""

PYTHON = frozenset(("pyop", "pyfunc", "pythonop", "pythonopgrad", "pycustomop", "pyoperator", "eagerpyfunc"))
BITS = {
    1: 32,
    2: 8,
    3: 8,
    4: 16,
    5: 16,
    6: 32,
    7: 64,
    9: 8,
    10: 16,
    11: 64,
    12: 32,
    13: 64,
    14: 64,
    15: 128,
    16: 16,
    17: 8,
    18: 8,
    19: 8,
    20: 8,
    21: 4,
}
BITS |= {22: 4, 23: 4, 24: 8}
TYPED = (4, 5, 6, 7, 10, 11)
"""Fields that hold values where raw_data does not."""


def recognises(probe: Probe) -> bool:
    """A message with the fields of a model, among them a graph and its version or operator sets; or the name."""
    if probe.name.endswith(".onnx"):
        return True
    return probe.head[:1] not in (b"", b"{") and fits(probe.head, probe.size, SCHEMA, needed=frozenset((GRAPH,))) and probe.size > 16


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The model, its graphs at any depth, and its functions. Values of tensors are not read."""
    model = _Model(source, context)
    yield from model.findings()


class _Model:
    def __init__(self, source: Source, context: Context) -> None:
        self.source, self.context = source, context
        self.root = message(source)
        self.functions: set[tuple[str, str]] = set()
        self.foreign: dict[tuple[str, str], int] = {}

    def findings(self) -> Iterator[Finding]:
        fields = list(self._top())
        for field in fields:
            if field.number == FUNCTIONS:
                function = self.root.inner(field)
                self.functions.add((function.text(10), function.text(1)))
        for field in fields:
            if field.wire == BYTES:
                yield from self._part(field)
        for (domain, operator), offset in self.foreign.items():
            if (domain, operator) not in self.functions:
                what = f"the operator {operator[:60]!r} of the domain {domain[:80]!r} comes from a library that must be loaded for it"
                yield finding("onnx-custom-domain", self.source, what, offset=offset)

    def _top(self) -> Iterator[Field]:
        for count, field in enumerate(self.root.fields()):
            if count > 1_000_000:
                raise Malformed("more than a million fields in a model", offset=field.start)
            if not count % 1024:
                self.context.check_time()
            yield field

    def _part(self, field: Field) -> Iterator[Finding]:
        if field.number == GRAPH:
            yield from self._graph(self.root.inner(field))
        elif field.number == FUNCTIONS:
            yield from self._nodes(self.root.inner(field), 7)
        elif field.number == METADATA:
            yield from self._entry(self.root.inner(field))
        elif field.number == TRAINING:
            for graph in self.root.inner(field).of(1, 2):
                yield from self._graph(graph)
        elif field.number not in SCHEMA and field.end - field.start > 8:
            inner = self.source.part(field.start, field.end - field.start, member=f"field {field.number}")
            yield from (each for each in self.context.nested(inner) if each.rule != "unknown-format")
        elif field.number == 6:
            yield from texts.judge("doc_string", self.root.text_of(field), self.source, self.context, offset=field.start)

    def _entry(self, entry: Message) -> Iterator[Finding]:
        yield from texts.judge(entry.text(1) or "metadata", entry.text(2), self.source, self.context, offset=entry.start)

    def _graph(self, graph: Message) -> Iterator[Finding]:
        for field in graph.fields():
            if field.wire != BYTES:
                continue
            if field.number == 1:
                yield from self._node(graph.inner(field))
            elif field.number == 5:
                yield from self._tensor(graph.inner(field))
            elif field.number == 15:
                for tensor in graph.inner(field).of(1, 2):
                    yield from self._tensor(tensor)
            elif field.number == 16:
                yield from self._entry(graph.inner(field))

    def _nodes(self, owner: Message, number: int) -> Iterator[Finding]:
        for node in owner.of(number):
            yield from self._node(node)

    def _node(self, node: Message) -> Iterator[Finding]:
        self.context.check_time()
        operator, domain = node.text(4), node.text(7)
        if operator.lower() in PYTHON:
            yield finding(
                "onnx-python-op", self.source, f"the operator {operator[:60]!r} of {domain[:60]!r} runs Python", offset=node.start
            )
        elif domain not in DOMAINS:
            self.foreign.setdefault((domain, operator), node.start)
        for attribute in node.of(5):
            yield from self._attribute(attribute)

    def _attribute(self, attribute: Message) -> Iterator[Finding]:
        for field in attribute.fields():
            if field.wire != BYTES:
                continue
            if field.number in (5, 10):
                yield from self._tensor(attribute.inner(field))
            elif field.number in (6, 11):
                yield from self._graph(attribute.inner(field))
            elif field.number in (22, 23):
                for tensor in attribute.inner(field).of(1, 2):
                    yield from self._tensor(tensor)
            elif field.number in (4, 9) and field.end - field.start < 1 << 20:
                yield from self._text(attribute.bytes_of(field), field.start)

    def _text(self, raw: bytes, offset: int) -> Iterator[Finding]:
        if code := shell.first_code(raw):
            yield finding("code-in-text", self.source, f"an attribute is code: {code!r}", offset=offset)
        if library := shell.first_library(raw):
            yield finding("native-library", self.source, f"an attribute names the native library {library!r}", offset=offset)

    def _tensor(self, tensor: Message) -> Iterator[Finding]:
        name, raw, typed, external, kind = "", -1, 0, {}, 0
        for field in tensor.fields():
            if field.number == 8 and field.wire == BYTES:
                name = tensor.text_of(field)[:80]
            elif field.number == 9:
                raw = field.end - field.start
            elif field.number in TYPED:
                typed += field.end - field.start
            elif field.number == 13 and field.wire == BYTES:
                entry = tensor.inner(field)
                external[entry.text(1)] = entry.text(2)
            elif field.number == 2:
                kind = field.value
        if external:
            yield from self._external(name, external, tensor)
        else:
            yield from self._shape(name, tensor, kind, (raw, typed))

    def _external(self, name: str, external: dict[str, str], tensor: Message) -> Iterator[Finding]:
        if "location" not in external:
            yield finding("malformed", self.source, f"tensor {name!r} lies elsewhere, and it is not said where", offset=tensor.start)
        else:
            yield from neighbours.judge(external["location"], "onnx-external-data", self.source, offset=tensor.start)
        for key in ("offset", "length"):
            if key in external and not (external[key].isdigit() and len(external[key]) < 19):
                yield finding("onnx-tensor", self.source, f"tensor {name!r} has the {key} {external[key][:40]!r}", offset=tensor.start)
                return
        tree = self.source.tree
        place = str(PurePosixPath(self.source.place).parent / external.get("location", ""))
        if tree is not None and place in tree.names:
            end, size = int(external.get("offset", 0)) + int(external.get("length", 0)), tree.open(place).size
            if end > size:
                what = f"tensor {name!r} ends at byte {end:,} of {place[:120]!r}, which has {size:,}"
                yield finding("onnx-tensor", self.source, what, offset=tensor.start)

    def _shape(self, name: str, tensor: Message, kind: int, sizes: tuple[int, int]) -> Iterator[Finding]:
        shape = [signed(value) for value in tensor.numbers(1)]
        raw, typed = sizes
        count, bits = prod(shape) if len(shape) <= 64 else -1, BITS.get(kind, 0)
        if any(size < 0 for size in shape) or count < 0:
            yield finding("onnx-tensor", self.source, f"tensor {name!r} has the impossible shape {shape[:8]}", offset=tensor.start)
        elif raw >= 0 and bits and -(-count * bits // 8) != raw:
            what = f"tensor {name!r} of shape {shape[:8]} needs {-(-count * bits // 8):,} bytes and has {raw:,}"
            yield finding("onnx-tensor", self.source, what, offset=tensor.start)
        elif raw < 0 and count > 2 * max(typed, 1) + 64:
            what = f"tensor {name!r} of shape {shape[:8]} has {count:,} values and {typed:,} bytes for them"
            yield finding("header-bomb", self.source, what, offset=tensor.start)
