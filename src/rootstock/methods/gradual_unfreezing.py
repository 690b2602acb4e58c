"""Train the head first, then thaw block after block from the top; lower layers learn at smaller rates (ULMFiT).

Prefer it to full where full forgets what the base knew: few rows, or a task far from the base's texts. What lies below the lowest thawed
block is computed once and kept on disk. A base that learns vectors has no head, and begins with its top block.
Howard and Ruder 2018, https://arxiv.org/abs/1801.06146
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from rootstock.core import layers
from rootstock.core.loaded import Loaded
from rootstock.core.method import Method, train_only


class GradualUnfreezing(Method):
    """One layer more learns at each turn: the blocks from the top down, the embeddings last. Tied embeddings stand at the top."""

    epochs: ClassVar[float] = 4
    updates: ClassVar[int] = 90
    rate: ClassVar[float] = 5e-4
    batch_tokens: ClassVar[int] = 1024
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 5

    blocks: int | None = Field(default=None, ge=1)
    """How many blocks thaw, from the top. None: all of them, and the embeddings after the last."""
    until: float = Field(default=0.5, gt=0, le=1)
    """Share of the training in which layers thaw, at equal intervals; in the rest all of them learn. 1 with blocks=2 and three epochs is
    the paper's one layer an epoch."""
    decay: float = Field(default=0.8, gt=0, le=1)
    """Rate of a layer relative to the one above it. The paper's 1 / 2.6 is for three layers: twelve of them would hardly move."""

    def apply(self, loaded: Loaded) -> nn.Module:
        """All that will thaw is trainable; ValueError where the base has fewer blocks, or where random ones would stay frozen."""
        model = loaded.model
        count = layers.stacked(model, self.blocks or 1)
        held = layers.depths(model)
        chosen = {name for name, depth in held.items() if depth > count - self._steps(count)}
        if random := sorted(loaded.fresh - chosen):
            raise ValueError(f"{random[0]} is random and would never learn with blocks={self.blocks}")
        train_only(model, chosen)
        return model

    def groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]]:
        """Discriminative rates: the head's is `rate`."""
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        return layers.decayed([{"names": names, "rate": rate}], model, self.decay)

    def turns(self, model: nn.Module) -> Sequence[float]:
        """Shares of the training at which a layer thaws."""
        return self._turns(self._steps(len(layers.blocks(model))) - _at_once(model))

    def advance(self, model: nn.Module, progress: float) -> None:
        """Thaw what is due at this share of the training, and freeze what is not."""
        held, parameters = layers.depths(model), dict(model.named_parameters())
        count = max(held.values()) - 1
        steps, first = self._steps(count), _at_once(model)
        thawed = first + sum(progress >= turn for turn in self._turns(steps - first))
        for name, depth in held.items():
            if depth > count - steps:
                parameters[name].requires_grad_(depth > count - thawed)

    def _turns(self, steps: int) -> list[float]:
        return [self.until * step / (steps + 1) for step in range(1, steps + 1)]

    def _steps(self, count: int) -> int:
        """Layers that thaw in all: the blocks asked for, or every one of `count` and the embeddings."""
        return count + 1 if self.blocks is None else self.blocks


def _at_once(model: Any) -> int:
    """Layers that learn from the start: the top block of a model without a head and an output layer, in which else nothing would."""
    whole = getattr(model, "base_model", None) is model
    return int(whole and model.get_output_embeddings() is None)
