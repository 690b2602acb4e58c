"""Train every parameter (full fine-tuning), or those of some blocks only.

Prefer it with a few thousand rows or more and time to spend; prefer lora where disk or memory is short or one base serves many tasks,
feature-extraction where seconds count.
"""

from typing import ClassVar

from torch import nn

from rootstock.core import layers
from rootstock.core.loaded import Loaded
from rootstock.core.method import Method, train_only


class Full(Method):
    """All weights learn at one rate."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 60
    rate: ClassVar[float] = 2e-4
    large_rate: ClassVar[float | None] = 3e-5  # Devlin et al. 2018: of 2e-5, 3e-5 and 5e-5 one was best on every task
    batch_tokens: ClassVar[int] = 2048
    base_dropout: ClassVar[float | None] = 0.0

    layers: tuple[int, ...] = ()
    """Numbers of the blocks that learn, the lowest is 0; empty: all. Else the embeddings stay as well, and what stands above the blocks
    learns. `rootstock probe` proposes some. What lies below the lowest of them is computed once and kept on disk."""

    def apply(self, loaded: Loaded) -> nn.Module:
        """Everything is trainable, or some blocks and what stands above all; ValueError where a block is missing, or stays random."""
        if not self.layers:
            return loaded.model.requires_grad_(True)
        count = layers.named(loaded.model, self.layers)
        chosen = {name for name, depth in layers.depths(loaded.model).items() if depth > count or depth - 1 in self.layers}
        if random := sorted(loaded.fresh - chosen):
            raise ValueError(f"{random[0]} is random and would never learn with layers={list(self.layers)}")
        train_only(loaded.model, chosen)
        return loaded.model
