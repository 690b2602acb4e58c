"""Train low-rank updates beside frozen weights (LoRA).

Prefer it to full where many tasks share one base or memory is short: the adapter is about 1 % of the base's size and loads in plain peft.
Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

from typing import ClassVar

from pydantic import Field
from torch import nn

from rootstock.core import layers
from rootstock.core.loaded import Loaded
from rootstock.methods._tuner import InPeft


class LoRA(InPeft):
    """Each target matrix W becomes W + (alpha / r) · B·A, with A and B of rank r."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 1e-3
    large_rate: ClassVar[float | None] = 4e-4  # Hu et al. 2021, table 9
    trained: ClassVar[float] = 0.02

    r: int = Field(default=8, ge=1)
    """Rank of the update; 8 is the paper's middle ground, more seldom helps on small data."""
    alpha: float = Field(default=16, gt=0)
    """Scale of the update, used as alpha / r, so that the rate need not change with r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update; 0 keeps the step quick and measured no worse on small bases."""
    targets: tuple[str, ...] = ()
    """Names of the adapted modules. Empty: query and value projections, as in the paper; all-linear adapts every matrix."""
    layers: tuple[int, ...] = ()
    """Numbers of the blocks that are adapted, the lowest is 0; empty: all. What lies below them is then computed once and kept on disk."""

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze the base, inject the updates; the fresh head learns too."""
        from rootstock.methods import _peft

        if self.layers:
            layers.named(loaded.model, self.layers)
        shape = {"r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout}
        return _peft.wrap(
            loaded, "LoraConfig", **shape, target_modules=_peft.targets(self.targets), layers_to_transform=list(self.layers) or None
        )
