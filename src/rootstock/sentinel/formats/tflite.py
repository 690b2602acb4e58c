"""TensorFlow Lite: custom operators, among them those that call into TensorFlow, and offsets against the file."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.formats.savedmodel import FILES, PYTHON
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.parse.flatbuffers import Table, root
from rootstock.sentinel.source import Probe, Source

IDENTIFIER = b"TFL3"
CUSTOM = 32
COMMON = words(
    "TFLite_Detection_PostProcess MaxPoolingWithArgmax2D MaxUnpooling2D Convolution2DTransposeBias edgetpu-custom-op Mfcc"
    " AudioSpectrogram NumericVerify TransformLandmarks TransformTensorBilinear Landmarks2TransformMatrix"
)
"""Custom operators that come with the runtime or with common ones."""


def recognises(probe: Probe) -> bool:
    """By its identifier, or the name."""
    return probe.head[4:8] == IDENTIFIER or probe.name.endswith(".tflite")


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Operator codes, subgraphs, buffers, metadata. Values of tensors are not read."""
    model = root(source)
    for code in model.tables(1):
        context.check_time()
        name = code.text(1)
        if name:
            yield from _custom(name, source, code.at)
    for buffer in model.tables(4):
        context.check_time()
        buffer.vector(0)  # raises where it does not lie in the file
        offset, size = buffer.number(1, 8), buffer.number(2, 8)
        if offset > 1 and offset + size > source.size:
            yield finding("malformed", source, f"a buffer of {size:,} bytes at {offset:,} lies outside of the file", offset=buffer.at)
    yield from _text(model, source)


def _custom(name: str, source: Source, offset: int) -> Iterator[Finding]:
    flex = name.removeprefix("Flex")
    if name.startswith("Flex") and (PYTHON.match(flex) or FILES.match(flex)):
        rule = "tf-python-op" if PYTHON.match(flex) else "tf-file-op"
        yield finding(rule, source, f"the model calls TensorFlow's operator {flex[:60]!r}", offset=offset)
    elif name not in COMMON and not name.startswith("Flex"):
        yield finding(
            "tflite-custom-op", source, f"the operator {name[:80]!r} comes from a library that must be loaded for it", offset=offset
        )


def _text(model: Table, source: Source) -> Iterator[Finding]:
    from rootstock.sentinel.judge import shell

    for text in (model.text(3), *(entry.text(0) for entry in model.tables(6)), *(graph.text(4) for graph in model.tables(2))):
        if code := shell.first_code(text):
            yield finding("code-in-text", source, f"a text of the model is code: {code!r}")
        if library := shell.first_library(text):
            yield finding("native-library", source, f"a text of the model names the native library {library!r}")
