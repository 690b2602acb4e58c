"""Train low-rank updates whose scale falls with the root of the rank (rank-stabilised LoRA).

Prefer it to lora with ranks of 32 and more: there alpha / r makes the update of lora so small that more rank brings nothing. Below that
the two are the same but for the scale. Kalajdzievski 2023, https://arxiv.org/abs/2312.03732
"""

from typing import Any, ClassVar

from pydantic import Field

from rootstock.methods._tuner import Tuner


class RankStabilised(Tuner):
    """Each target matrix W becomes W + (alpha / √r) · B·A, with A and B of rank r."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 1e-3
    trained: ClassVar[float] = 0.013

    r: int = Field(default=32, ge=1)
    """Rank of the update; this scale is for ranks from some 32 on."""
    alpha: float = Field(default=16, gt=0)
    """Scale of the update, used as alpha / √r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""

    def tuned(self) -> tuple[str, dict[str, Any]]:
        """LoRA with the other scale."""
        return "lora", {"r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout, "use_rslora": True}
