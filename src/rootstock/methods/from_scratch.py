"""Train every parameter of the same architecture from random weights: what pre-training was worth.

Prefer it for the comparison only: beside full it says how much of a score comes from the base's weights.
"""

from typing import Any, ClassVar

import torch
from torch import nn

from rootstock.core.heads import drawn_anew
from rootstock.core.loaded import Loaded
from rootstock.core.method import Method


class FromScratch(Method):
    """The base gives its shape and its tokenizer, no weight."""

    epochs: ClassVar[float] = 10
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 3e-4
    batch_tokens: ClassVar[int] = 1024

    @torch.no_grad()
    def apply(self, loaded: Loaded) -> nn.Module:
        """Draw all weights as the architecture starts them, from torch's generator; what a task added keeps its own start."""
        model: Any = loaded.model
        drawn = dict(drawn_anew(model).named_parameters())
        for name, parameter in model.named_parameters():
            if name in drawn and drawn[name].shape == parameter.shape:
                parameter.copy_(drawn[name])
        return loaded.model.requires_grad_(True)
