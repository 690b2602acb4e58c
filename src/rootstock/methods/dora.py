"""Train low-rank updates of the direction and, apart from them, the length of each column (DoRA).

Prefer it to lora where a rank of 8 or less stays behind full: the paper comes nearer to it with as few parameters. A step takes a little
longer. Liu et al. 2024, https://arxiv.org/abs/2402.09353
"""

from typing import Any, ClassVar

from pydantic import Field

from rootstock.methods._tuner import Tuner


class DoRA(Tuner):
    """Each target matrix W becomes m · (W + (alpha / r) · B·A) / ‖W + (alpha / r) · B·A‖, with the norms of columns m learned as well."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 1e-3
    flops: ClassVar[float] = 5
    trained: ClassVar[float] = 0.003

    r: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=16, gt=0)
    """Scale of the update, used as alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""

    def tuned(self) -> tuple[str, dict[str, Any]]:
        """LoRA with lengths of their own."""
        return "lora", {"r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout, "use_dora": True}
