"""Train the top blocks and the head; all below them stays as it was.

Prefer it to full where time or memory is short: what the lower blocks give is computed once and kept on disk. Prefer lora where the
adapter is to be small, gradual-unfreezing where all of the base shall learn in the end.
"""

from typing import ClassVar

from pydantic import Field
from torch import nn

from rootstock.core import layers
from rootstock.core.loaded import Loaded
from rootstock.core.method import Method, train_only


class TopLayers(Method):
    """The highest blocks learn with all that stands above them; tied embeddings stand at the top."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 60
    rate: ClassVar[float] = 5e-4
    batch_tokens: ClassVar[int] = 1024
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 4
    trained: ClassVar[float] = 0.3

    blocks: int = Field(default=2, ge=1)
    """How many blocks learn, from the top; 2 of minilm's 6 change what the head reads and leave two thirds to be computed once."""

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze what lies below the top blocks; ValueError where the base has fewer."""
        count = layers.stacked(loaded.model, self.blocks)
        chosen = {name for name, depth in layers.depths(loaded.model).items() if depth > count - self.blocks}
        train_only(loaded.model, chosen | loaded.fresh)
        return loaded.model
