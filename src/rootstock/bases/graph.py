"""A model as an ONNX graph: traced, cleared of what tells of this machine, and answered by onnxruntime in the model's place.

Shape letters: B rows in a batch, T tokens in a row, H width.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn

from rootstock.bases.load import quiet
from rootstock.core.errors import RunFailed, UsageError, is_memory_shortage
from rootstock.core.modules import needed

OPSET = 18
"""Operators of ONNX 1.13 (2022): the oldest set that torch's exporter writes without conversion, so that most runtimes read it."""
LARGEST = 2**31 - 2**24
"""Bytes of weights up to which all is one file: protobuf ends at 2 GiB, and the graph itself takes some of them."""
VECTORS = "sentence_embedding"
_ANSWERS = ("logits", "start_logits", "end_logits", "last_hidden_state")
_AXES = {2: ("rows", "tokens"), 3: ("rows", "choices", "tokens")}
_UNTRACED = (
    torch.onnx.OnnxExporterError,
    *(RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError, NotImplementedError, ArithmeticError),
)
"""torch.onnx promises the first; what its parts raise before and after (guards on dimensions, operators without a translation, asserts of

the decomposition, the optimizer of onnxscript) are the others, of which torch's own classes are children.
"""
Pooled = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What goes in and comes out. sample: a small batch. pooled: makes vectors of length 1 inside the graph, where they are the answer."""

    outputs: tuple[str, ...]
    sample: Mapping[str, Tensor]
    pooled: Pooled | None = None

    @property
    def axes(self) -> dict[str, dict[int, str]]:
        """Names of each input's dimensions that are free: all of token ids, of pictures the first."""
        return {name: dict(enumerate(_AXES.get(value.ndim, ("rows",)))) for name, value in self.sample.items()}


class Listening(nn.Module):
    """A model that remembers with what it was asked and what came back: a task's own code tells which inputs its answers need."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.given, self.outputs = model, dict[str, Tensor](), tuple[str, ...]()

    @property
    def config(self) -> Any:
        """The model's own."""
        return self.model.config

    def forward(self, **given: Any) -> Any:
        """What the model answers."""
        made = self.model(**given)
        self.given = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        self.outputs = tuple(name for name in _ANSWERS if isinstance(getattr(made, name, None), Tensor))
        return made

    def ports(self, pooled: Pooled | None) -> Ports:
        """What was seen."""
        outputs = (VECTORS,) if pooled else tuple(name for name in self.outputs if name != "last_hidden_state" or len(self.outputs) == 1)
        return Ports(outputs=outputs, sample={name: value.clone() for name, value in self.given.items()}, pooled=pooled)


class _Traced(nn.Module):
    def __init__(self, model: nn.Module, ports: Ports) -> None:
        super().__init__()
        self.model, self.ports = model, ports

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.ports.sample, given, strict=True))
        if self.ports.pooled:
            return (self.ports.pooled(self.model, named),)
        made = self.model(**named)
        return tuple(getattr(made, name).float() for name in self.ports.outputs)


class Session(nn.Module):
    """A graph in the place of the model that it was made of, so that the task's own code asks it and measures it."""

    def __init__(self, path: Path, like: nn.Module, *, threads: int) -> None:
        super().__init__()
        self.session = session(path, threads=threads)
        self.inputs = tuple(each.name for each in self.session.get_inputs())
        self.outputs = tuple(each.name for each in self.session.get_outputs())
        self.config = getattr(like, "config", None)
        self.register_buffer("place", torch.empty(0), persistent=False)
        self.register_parameter("_none", nn.Parameter(torch.empty(0), requires_grad=False))  # what asks a model where it is finds a device

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: a session keeps nothing from one call to the next, and answers several threads."""
        return self

    def forward(self, **given: Tensor) -> Any:
        """What the model would return, as far as the graph gives it."""
        found = self.session.run(None, {name: given[name].cpu().numpy() for name in self.inputs})
        made = {name: torch.from_numpy(value) for name, value in zip(self.outputs, found, strict=True)}
        if VECTORS in made:  # every token has the text's vector, so that whatever pools them gives it back
            tokens = given["input_ids"].shape[1]
            made["last_hidden_state"] = made[VECTORS][:, None].expand(-1, tokens, -1)
        return SimpleNamespace(**made)


def session(path: Path, *, threads: int) -> Any:
    """onnxruntime on a graph, by the processor."""
    runtime = needed("onnxruntime", "the check of an ONNX graph", extra="onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    errors = runtime.capi.onnxruntime_pybind11_state
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.NotImplemented, errors.RuntimeException, errors.InvalidArgument) as error:
        raise RunFailed(f"onnxruntime can't read the graph: {' '.join(str(error).split())[:300]}", fix="export it --to merged") from error


def write(model: nn.Module, ports: Ports, path: Path) -> None:
    """Trace a model into a graph with free rows and tokens. UsageError where torch can't, RunFailed where it is no plain ONNX."""
    sample = list(ports.sample.values())
    parts = Parts(inputs=list(ports.sample), outputs=list(ports.outputs), sample=sample, axes=(tuple(ports.axes.values()),))
    trace(_Traced(model, ports).eval(), parts, path, name=type(model).__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is traced. sample: what goes in, by its order. axes: of each argument of forward its free dimensions."""

    inputs: list[str]
    outputs: list[str]
    sample: list[Tensor]
    axes: tuple[Any, ...]


def trace(module: nn.Module, parts: Parts, path: Path, *, name: str) -> None:
    """Make the graph and clear it. name: of the model, for messages."""
    needed("onnxscript", "export to ONNX", extra="onnx")
    large = sum(each.nbytes for each in module.parameters()) > LARGEST
    with _told(name), _silent(), torch.no_grad():
        torch.onnx.export(
            module,
            tuple(parts.sample),
            path,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=parts.inputs,
            output_names=parts.outputs,
            dynamic_shapes=parts.axes,
            external_data=large,
        )
    _clear(path, alone=not large)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What a tracer raises has many kinds: each operator of each model may fail in its own way, and all mean that it is no graph."""
    try:
        yield
    except _UNTRACED as error:
        if is_memory_shortage(error):
            raise
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        why = f"{type(error).__name__}: {first}" if not isinstance(error, torch.onnx.OnnxExporterError) else first
        fix = "export it --to merged, and use transformers"
        raise UsageError(f"{name} can't be traced: {why}", wanted="a model that is one graph", fix=fix) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Exporters tell of packages that are not there and of what is deprecated inside them."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _clear(path: Path, *, alone: bool) -> None:
    """Take out where in whose files each operator came from, and hold the graph to ONNX's own check and its own operators."""
    onnx = needed("onnx", "export to ONNX", extra="onnx")
    model = onnx.load(str(path), load_external_data=alone)
    del model.metadata_props[:]
    _forget(model.graph)
    if foreign := sorted({each.domain for each in model.opset_import} - {"", "ai.onnx"}):
        raise RunFailed(f"the graph needs operators of {', '.join(foreign)}", wanted="ONNX's own operators only")
    onnx.save(model, str(path))
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise RunFailed(f"the graph is no valid ONNX: {' '.join(str(error).split())[:300]}", fix="export it --to merged") from error


def _forget(graph: Any) -> None:
    graph.ClearField("doc_string")
    for each in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        each.ClearField("doc_string")
        del each.metadata_props[:]
    for tensor in graph.initializer:
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]
    for inner in (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")):
        _forget(inner)


def quantize(source: Path, target: Path) -> None:
    """Weights of products and tables in 8 bits, one scale a channel; what goes into a product gets its scale from its own values."""
    needed("onnx", "int8", extra="onnx")
    quantization = needed("onnxruntime.quantization", "int8", extra="onnx")
    with _silent():
        quantization.quantize_dynamic(
            str(source), str(target), per_channel=True, weight_type=quantization.QuantType.QInt8, extra_options={"MatMulConstBOnly": True}
        )
    _clear(target, alone=True)
