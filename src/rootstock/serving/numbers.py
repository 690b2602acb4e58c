"""In which numbers a base computes: measured on this machine, and said.

A bf16 product is 4 to 6 times as quick as an fp32 one where the processor has instructions for it, and several times slower where it has
not. Eight-bit products (weights as int8 a matrix, inputs scaled as they come) change answers by more than the tolerance that is promised
of the others, so they are never chosen, only obeyed.
"""

import time
import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rootstock.core.errors import UsageError
from rootstock.serving.settings import Precision

_ROWS, _WIDTH, _DEEP, _TIMES = 256, 384, 1536, 7
"""Of the products that are timed: those of a small encoder's widest layer over 256 tokens."""


@dataclass(frozen=True)
class Format:
    """name: float32, bfloat16 or int8. milliseconds: of the timed product in each format that was tried."""

    name: str
    milliseconds: tuple[tuple[str, float], ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """Of weights that are no matrices, and of what passes between layers."""
        return torch.bfloat16 if self.name == "bfloat16" else torch.float32

    def quantise(self, model: nn.Module, fresh: Collection[str] = ()) -> None:
        """Put the matrices of linear layers into eight bits where this is the format; a fresh head, and what a method wrapped, stay."""
        if self.name == "int8" and type(model).__module__.startswith("transformers."):
            for name, module in list(model.named_modules()):
                if type(module) is nn.Linear and name and not any(each.startswith(f"{name}.") for each in fresh):
                    model.set_submodule(name, _eight(module))

    @property
    def said(self) -> str:
        """In a line: the format, and what each took."""
        took = ", ".join(f"{name} {each:.2f} ms" for name, each in self.milliseconds)
        return f"{self.name} ({took} for {_ROWS}x{_WIDTH}x{_DEEP})" if took else self.name


def choose(asked: Precision, device: str) -> Format:
    """The format that is asked for, or of float32 and bfloat16 the quicker one here. UsageError for int8 where torch can't."""
    if asked == "int8" and (device != "cpu" or "none" in torch.backends.quantized.engine):
        raise UsageError("precision is int8", wanted="a processor for which torch has eight-bit products", fix="leave precision out")
    if device != "cpu":
        return Format("bfloat16" if asked == "auto" and torch.cuda.is_bf16_supported(False) else "float32" if asked == "auto" else asked)
    if asked != "auto":
        return Format(asked)
    cores = torch.get_num_threads()
    took = {"float32": _timed(torch.float32), "bfloat16": _timed(torch.bfloat16)}
    torch.set_num_threads(cores)  # what a thread sets is also the default of threads that come later
    return Format(min(took, key=lambda name: took[name]), tuple(took.items()))


def _timed(dtype: torch.dtype) -> float:
    """Milliseconds of one product on one core, the quickest of several: a neighbour makes none of them quicker."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as core:
        return core.submit(_product, dtype).result()


@torch.inference_mode()
def _product(dtype: torch.dtype) -> float:
    layer, given = nn.Linear(_WIDTH, _DEEP).to(dtype), torch.ones(_ROWS, _WIDTH, dtype=dtype)
    found = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        layer(given)
        found.append(1000 * (time.perf_counter() - start))
    return min(found)


def _eight(layer: nn.Linear) -> Any:
    """The layer with its matrix in eight bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao says that it is to move to another package
        from torch.ao.nn.quantized.dynamic import Linear
        from torch.ao.quantization import default_dynamic_qconfig

        layer.qconfig = default_dynamic_qconfig  # type: ignore[assignment]
        return Linear.from_float(layer)  # type: ignore[no-untyped-call]
