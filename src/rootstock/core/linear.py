"""Linear layers that add their bias inside the bf16 product, for answers on a processor.

torch's own first writes the bias into every row of the result and then has the product added to it: a pass over memory that at 4,096 rows
costs a third of the product. oneDNN's fused product saves it; it has no backward pass.

Each product first puts the weights into the order that the processor multiplies them in. Of many rows that is little; of 16 it is more
than half of the product, and of 32 two fifths. Where one set of weights answers again and again it is done once: the same bits, for a
second copy of the weights in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 32
"""For which number of rows weights are put in order; the order for another number was no other."""


@contextmanager
def fused(model: nn.Module, *, ordered: bool = False) -> Iterator[None]:
    """Inside, the model's plain bf16 linear layers on a processor use the fused product. For passes without gradients only.

    ordered: weights are put in the processor's order once, for a model that answers few rows at a time and whose weights stay as they are.
    """
    able = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    chosen = [module for module in model.modules() if type(module) is nn.Linear and _fits(module)] if able else []
    for module in chosen:
        vars(module)["forward"] = partial(_product, module, _Ordered(module.weight) if ordered else None)
    try:
        yield
    finally:
        for module in chosen:
            vars(module).pop("forward", None)  # a task may have put its own there meanwhile, and taken it away


def _fits(layer: nn.Linear) -> bool:
    """Whether nobody changed what it does, and its bias is there and in bf16 as well."""
    if layer.bias is None or "forward" in vars(layer):
        return False
    return layer.weight.device.type == "cpu" and layer.weight.dtype == layer.bias.dtype == torch.bfloat16


class _Ordered:
    """A weight in the processor's order; a model's twins share it."""

    def __init__(self, weight_OI: Tensor) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach(), _ROWS)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Ordered":
        return self


def _product(layer: nn.Linear, ordered: _Ordered | None, rows: Tensor) -> Tensor:
    if rows.dtype != torch.bfloat16:
        return nn.functional.linear(rows, layer.weight, layer.bias)
    weight = layer.weight if ordered is None else ordered.weight
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, layer.bias, "none", [], "")
    return found
