"""TensorFlow graphs: SavedModel, frozen graphs and Keras' metadata beside them. Operators that reach files, the network or Python."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.parse.protobuf import BYTES, FIXED32, FIXED64, VARINT, Message, fits, message
from rootstock.sentinel.source import Probe, Source

SAVED_MODEL = {1: VARINT, 2: BYTES}
META_GRAPH = {1: BYTES, 2: BYTES, 3: BYTES, 4: BYTES, 5: BYTES, 6: BYTES, 7: BYTES}
GRAPH = {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}
METADATA_FILE = "keras_metadata.pb"

PYTHON = re.compile(r"(?:Eager)?PyFunc(?:Stateless)?\Z|PyLambda|PythonOp")
FILES = re.compile(
    r"(?:ReadFile|WriteFile|MatchingFiles|WholeFileReader|TextLineReader|TFRecordReader|FixedLengthRecordReader|LMDBReader|IdentityReader)(?:V\d)?\Z|"
    r"(?:TFRecord|TextLine|FixedLengthRecord|Sql|LMDB|CSV|ExperimentalCSV|ExperimentalSql|ExperimentalLMDB|IO|Snapshot|Load|Save)Dataset(?:V\d)?\Z|"
    r"DatasetToTFRecord|ImmutableConst\Z|(?:Save|SaveSlices|Restore|RestoreSlice)\Z|LoadAndRemapMatrix|GenerateVocabRemapping|"
    r"Debug(?:Identity|NanCount|NumericSummary)(?:V\d)?\Z|CreateSummary(?:File|Db)Writer|Write\w*Summary\Z|"
    r"DataService\w+|RegisterDataset\w*|(?:Try)?Rpc\w*|DistributedSave|FileSystemSetConfiguration|GcsConfigureCredentials|"
    r"SqliteDataset|ImportEvent|IgniteDataset|BigtableClient|BigQuery\w*|CompressElementToFile|TensorArrayToFile|TPUEmbeddingActivationsFile|DeleteFile|RenameFile|"
    r"Tensorflow>WriteFile|KafkaDataset\w*|IO>\w+|DecodeLibsvmFile"
)
TEXT_OPERATOR = re.compile(rb"\bop\s*:\s*[\"'](\w+)[\"']")
MAX_NESTING = 8


def recognises(probe: Probe) -> bool:
    """A message with the fields of a SavedModel or a graph; graphs as text and Keras' metadata by name."""
    if probe.name.endswith((".pbtxt", ".pb")):
        return True
    return _is_meta_graph(probe) or _is_graph(probe) or (probe.head[:1] == b"\x08" and _is_saved_model(probe))


def _is_saved_model(probe: Probe) -> bool:
    at = probe.head.find(b"\x12", 2, 12)
    return (
        at > 0
        and fits(probe.head, probe.size, SAVED_MODEL, needed=frozenset((2,)))
        and b"\x0a" in probe.head[at : at + 12]
        and b"Const" in probe.head
    )


def _is_meta_graph(probe: Probe) -> bool:
    """A graph of TensorFlow 1 with its settings, as it lies beside checkpoints."""
    return probe.name.endswith(".meta") and probe.head[:1] == b"\x0a" and fits(probe.head, probe.size, META_GRAPH, needed=frozenset((1, 2)))


def _is_graph(probe: Probe) -> bool:
    if probe.head[:1] != b"\x0a" or not fits(probe.head, probe.size, GRAPH, needed=frozenset((1,))):
        return False
    return bool(re.match(rb"\x0a[\x00-\xff]{1,5}?\x0a[\x01-\x7f][\w/.:-]+\x12[\x01-\x7f][A-Z_]\w+", probe.head[:400]))


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Every operator of every graph and function, also of graphs kept in constants."""
    reader = _Reader(source, context)
    if source.name.endswith(".pbtxt"):
        yield from reader.text()
    elif source.name == METADATA_FILE:
        yield from reader.metadata()
    elif source.name == "saved_model.pb" or _is_saved_model(source.probe):
        for graph in message(source).of(2):
            yield from reader.meta_graph(graph)
    elif _is_meta_graph(source.probe):
        yield from reader.meta_graph(message(source))
    elif _is_graph(source.probe):
        yield from reader.graph(message(source), 0)
    else:
        yield from reader.other()


class _Reader:
    def __init__(self, source: Source, context: Context) -> None:
        self.source, self.context = source, context
        self.told: set[tuple[str, str]] = set()

    def meta_graph(self, graph: Message) -> Iterator[Finding]:
        for field in graph.fields():
            if field.wire != BYTES:
                continue
            if field.number == 2:
                yield from self.graph(graph.inner(field), 0)
            elif field.number == 7:
                yield from self.objects(graph.inner(field))
            elif field.number == 6:
                yield from self.asset(graph.inner(field))

    def objects(self, graph: Message) -> Iterator[Finding]:
        """Objects of Keras, with their configs as JSON, and functions that are kept beside the graph."""
        for node in graph.of(1):
            for user in node.of(4):
                if text := user.text(3):
                    yield from texts.judge(user.text(1) or "metadata", text, self.source, self.context, offset=user.start)

    def metadata(self) -> Iterator[Finding]:
        for node in message(self.source).of(1):
            if text := node.text(5):
                yield from texts.judge(node.text(3) or "metadata", text, self.source, self.context, offset=node.start)

    def asset(self, asset: Message) -> Iterator[Finding]:
        from rootstock.sentinel.judge import paths

        name = asset.text(2)
        if why := paths.escapes(name):
            yield finding("config-path", self.source, f"an asset lies at {name[:160]!r}, which {why}", offset=asset.start)

    def graph(self, graph: Message, depth: int) -> Iterator[Finding]:
        for field in graph.fields():
            if field.wire == BYTES and field.number == 1:
                yield from self.node(graph.inner(field), depth, "the graph")
            elif field.wire == BYTES and field.number == 2:
                for function in graph.inner(field).of(1):
                    name = next((signature.text(1) for signature in function.of(1)), "")
                    for node in function.of(3):
                        yield from self.node(node, depth, f"the function {name[:60]!r}")

    def node(self, node: Message, depth: int, place: str) -> Iterator[Finding]:
        self.context.check_time()
        operator = node.text(2)
        attributes = {entry.text(1): entry for entry in node.of(5)}
        yield from self.operator(operator, attributes, place, node.start)
        for entry in attributes.values():
            for value in entry.of(2):
                yield from self.attribute(value, depth)

    def operator(self, operator: str, attributes: dict[str, Message], place: str, offset: int) -> Iterator[Finding]:
        rule = "tf-python-op" if PYTHON.match(operator) else "tf-file-op" if FILES.match(operator) else ""
        if (
            operator == "PrintV2"
            and (stream := self.setting(attributes, "output_stream")) not in ("stdout", "stderr", "")
            and not stream.startswith("log(")
        ):
            rule = "tf-file-op"
        if (
            operator.startswith(("DecodeProto", "EncodeProto"))
            and (self.setting(attributes, "descriptor_source") or "local://") not in ("local://",)
            and not self.setting(attributes, "descriptor_source").startswith("bytes://")
        ):
            rule = "tf-file-op"
        if operator in ("CacheDataset", "CacheDatasetV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2"):
            return
        if rule and (operator, place) not in self.told:
            self.told.add((operator, place))
            yield finding(rule, self.source, f"{place} calls the operator {operator[:60]!r}", offset=offset)

    def setting(self, attributes: dict[str, Message], name: str) -> str:
        for value in attributes[name].of(2) if name in attributes else ():
            return value.text(2)
        return ""

    def attribute(self, value: Message, depth: int) -> Iterator[Finding]:
        """Texts of an attribute, and graphs that a constant holds in serial form."""
        for field in value.fields():
            if field.wire != BYTES:
                continue
            if field.number == 8:
                yield from self.constant(value.inner(field), depth)
            elif field.number == 1:
                for tensor in value.inner(field).of(8):
                    yield from self.constant(tensor, depth)
            elif field.number == 2 and field.end - field.start > 16:
                yield from self.serial(value.inner(field), depth)

    def constant(self, tensor: Message, depth: int) -> Iterator[Finding]:
        for field in tensor.fields():
            if field.number in (4, 8) and field.wire == BYTES and field.end - field.start > 16:
                yield from self.serial(tensor.inner(field), depth)

    def serial(self, part: Message, depth: int) -> Iterator[Finding]:
        size = part.end - part.start
        head = part.window.take(part.start, min(size, 4096))
        if head[:1] == b"\x0a" and fits(head, size, GRAPH, needed=frozenset((1,))):
            if depth >= MAX_NESTING:
                yield finding("limit-reached", self.source, f"graphs more than {MAX_NESTING} deep in constants", offset=part.start)
            else:
                yield from self.graph(part, depth + 1)
        elif head[:1] == b"\x80":
            inner = self.source.part(part.start, size, member="constant")
            yield from (each for each in self.context.nested(inner) if each.rule != "unknown-format")

    def text(self) -> Iterator[Finding]:
        for offset, chunk in enumerate(self.source.chunks()):
            self.context.check_time()
            for match in TEXT_OPERATOR.finditer(chunk):
                yield from self.operator(match[1].decode(), {}, "the graph", (offset << 20) + match.start())

    def other(self) -> Iterator[Finding]:
        """A message of another kind: a fingerprint, a label map. It must be one, and hold no code."""
        for count, field in enumerate(message(self.source).fields()):
            if not count % 1024:
                self.context.check_time()
            if field.wire not in (VARINT, BYTES, FIXED32, FIXED64):
                return
        yield from texts.code_in(self.source, self.context, "the message")
