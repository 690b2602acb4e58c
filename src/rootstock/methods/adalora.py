"""Train low-rank updates whose ranks go to the matrices that need them (AdaLoRA).

Prefer it to lora where a small rank must do for many matrices: it begins with more than it keeps, and gives up the weakest directions by
and by. A direction's weight is the size of its update, |λ|·‖a‖·‖b‖; the paper's smoothed gradients would not survive a resumed run. Its
penalty on directions that are not at right angles is left out. Zhang et al. 2023, https://arxiv.org/abs/2303.10512
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from rootstock.methods._tuner import Tuner

_BEGIN, _END = 0.1, 0.6
"""Shares of the training between which ranks are given up: before, nothing is known of them; after, what is left settles."""


class AdaLoRA(Tuner):
    """Each target matrix W becomes W + (alpha / start) · B·diag(λ)·A; of all λ together only the largest are kept."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 200
    rate: ClassVar[float] = 5e-3
    trained: ClassVar[float] = 0.005

    r: int = Field(default=8, ge=1)
    """Directions of a matrix at the end, on average."""
    start: int = Field(default=12, ge=1)
    """Directions of each matrix at the start; the paper's 1.5 times r."""
    alpha: float = Field(default=32, gt=0)
    """Scale of the update, used as alpha / start."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""

    @field_validator("start")
    @classmethod
    def _falls(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("r", 0):
            raise ValueError(f"method.r ({info.data['r']}) or more, as ranks only fall")
        return value

    def tuned(self) -> tuple[str, dict[str, Any]]:
        """peft's own schedule never runs: it counts steps, and `revise` does its work."""
        settings = {"init_r": self.start, "target_r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout}
        return "adalora", settings | {"total_step": 1}

    def revise(self, values: Mapping[str, Tensor], progress: float) -> Iterable[str]:
        """Set the weakest λ to zero, over all matrices, by a budget that falls with the cube of what is left of the schedule."""
        names = [name for name in values if ".lora_E." in name]
        if progress <= _BEGIN or not names:
            return ()
        left = max(0.0, 1 - (progress - _BEGIN) / (_END - _BEGIN)) ** 3
        budget = round(len(names) * (self.r + (self.start - self.r) * left))
        sizes = {name: _sizes(values, name) for name in names}
        order = torch.cat([sizes[name] for name in names]).argsort(descending=True, stable=True)
        kept = torch.zeros(len(order), dtype=torch.bool, device=order.device)
        kept[order[:budget]] = True
        for name, keep in zip(names, torch.split(kept, [len(sizes[name]) for name in names]), strict=True):
            values[name].mul_(keep[:, None])
        return names


def _sizes(values: Mapping[str, Tensor], name: str) -> Tensor:
    """|λ|·‖a‖·‖b‖ of each direction of one matrix: the norm of what it adds."""
    a_RI, b_OR = (values[name.replace(".lora_E.", f".lora_{other}.")] for other in "AB")
    found: Tensor = values[name][:, 0].abs() * torch.linalg.vector_norm(a_RI, dim=1) * torch.linalg.vector_norm(b_OR, dim=0)
    return found
