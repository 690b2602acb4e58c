"""Train two vectors a matrix between random projections that all matrices share (VeRA).

Prefer it to lora where thousands of adapters are kept: what learns is some ten times less. It needs a higher rate and more passes.
Kopiczko et al. 2023, https://arxiv.org/abs/2310.11454
"""

from typing import Any, ClassVar

from pydantic import Field

from rootstock.methods._tuner import Tuner


class VeRA(Tuner):
    """Each target matrix W becomes W + diag(b)·B·diag(d)·A: A and B are random, frozen and the same for all, b and d learn."""

    epochs: ClassVar[float] = 5
    updates: ClassVar[int] = 200
    rate: ClassVar[float] = 3e-2
    trained: ClassVar[float] = 0.0003

    r: int = Field(default=256, ge=1)
    """Rank of the shared projections; they do not learn, so that a high one costs little."""
    start: float = Field(default=0.1, gt=0)
    """First value of d; the paper's 0.1."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""
    seed: int = 0
    """Of the projections, which are saved with the adapter."""

    def tuned(self) -> tuple[str, dict[str, Any]]:
        """The projections are saved: another version of torch would draw others."""
        settings = {"r": self.r, "d_initial": self.start, "vera_dropout": self.dropout, "projection_prng_key": self.seed}
        return "vera", settings | {"save_projection": True}
