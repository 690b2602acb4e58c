"""Train only the scales and shifts of the norms, and the fresh head.

Prefer it to lora where the adapter must be tiny and steps quick; prefer bitfit where the base has biases, which go further.
Qi et al. 2022, https://arxiv.org/abs/2204.00862
"""

from typing import ClassVar

from torch import nn

from rootstock.core.loaded import Loaded
from rootstock.methods._tuner import InPeft


class LayerNorms(InPeft):
    """Every norm of the base learns; the matrices stay."""

    epochs: ClassVar[float] = 5
    updates: ClassVar[int] = 200
    rate: ClassVar[float] = 5e-3
    trained: ClassVar[float] = 0.0005

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze all but norms and head. ValueError where the base has no norm with weights."""
        from rootstock.methods import _peft

        norms = [name for name, module in loaded.model.named_modules() if _learns(module) and not _fresh(name, module, loaded)]
        if not norms:
            raise ValueError("it has no norms that could learn")
        return _peft.wrap(loaded, "LNTuningConfig", target_modules=norms)


def _learns(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and any(True for _ in module.parameters(recurse=False))


def _fresh(name: str, module: nn.Module, loaded: Loaded) -> bool:
    """Whether it belongs to the head, which learns and is saved anyway."""
    return any(f"{name}.{key}" in loaded.fresh for key, _ in module.named_parameters())
