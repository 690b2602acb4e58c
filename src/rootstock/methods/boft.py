"""Turn the base's matrices by products of small rotations (BOFT, orthogonal butterflies).

Prefer it to lora where what the base knows must be disturbed as little as possible: angles between neurons stay. A step takes longer.
Liu et al. 2023, https://arxiv.org/abs/2311.06243
"""

from typing import Any, ClassVar

from pydantic import Field

from rootstock.methods._tuner import Tuner


class BOFT(Tuner):
    """Each target matrix W becomes R·W, with R a product of `factors` sparse rotations of blocks of `block`."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 1e-2
    flops: ClassVar[float] = 5
    trained: ClassVar[float] = 0.001

    block: int = Field(default=4, ge=2)
    """Size of the rotated blocks; it must divide the width of each target."""
    factors: int = Field(default=1, ge=1)
    """Rotations in the product; more let distant inputs mix."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of blocks that are left as they were in a pass."""

    def tuned(self) -> tuple[str, dict[str, Any]]:
        """Blocks by their size."""
        return "boft", {"boft_block_size": self.block, "boft_n_butterfly_factor": self.factors, "boft_dropout": self.dropout}
