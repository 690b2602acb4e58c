"""Train every parameter (full fine-tuning).

Prefer it with a few thousand rows or more and time to spend; prefer lora where disk or memory is short or one base serves many tasks,
feature-extraction where seconds count.
"""

from typing import ClassVar

from torch import nn

from rootstock.core.loaded import Loaded
from rootstock.core.method import Method


class Full(Method):
    """All weights learn at one rate."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 60
    rate: ClassVar[float] = 2e-4
    batch_tokens: ClassVar[int] = 2048
    base_dropout: ClassVar[float | None] = 0.0

    def apply(self, loaded: Loaded) -> nn.Module:
        """Everything is trainable."""
        return loaded.model.requires_grad_(True)
