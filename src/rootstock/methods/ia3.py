"""Train vectors that scale keys, values and inner activations ((IA)³).

Prefer it to lora where the adapter must be tiny: one number a feature, some 0.1 % of the base. It goes less far with thousands of rows.
Liu et al. 2022, https://arxiv.org/abs/2205.05638
"""

from typing import Any, ClassVar

from rootstock.methods._tuner import Tuner


class IA3(Tuner):
    """Keys, values and the feed-forward's inner activations are multiplied by learned vectors that start at one."""

    epochs: ClassVar[float] = 5
    updates: ClassVar[int] = 200
    rate: ClassVar[float] = 1e-2
    trained: ClassVar[float] = 0.0007

    feedforward: tuple[str, ...] = ()
    """Those of the targets whose input is scaled instead of their output. Empty with empty targets: peft's choice for the architecture."""

    def tuned(self) -> tuple[str, dict[str, Any]]:
        """Where targets are named, so are those whose input is scaled."""
        return "ia3", {"feedforward_modules": list(self.feedforward)} if self.targets else {}
