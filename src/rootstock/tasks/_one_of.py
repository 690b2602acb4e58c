"""Shared by tasks whose rows have one right answer among several, told by their scores."""

from abc import ABC

import torch
import torch.nn.functional as F
from torch import Tensor

from rootstock.core.task import Batch, Scored


class OneOf(Scored, ABC):
    """One right answer a row; the scores of what it is chosen from are [B, C]."""

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """Accuracy, then the smaller log loss."""
        return "accuracy", "log_loss"

    def losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of a row in nats, [B]."""
        return F.cross_entropy(scores, batch["labels"], reduction="none")

    def items(self, batch: Batch) -> Tensor:
        """The row itself."""
        return torch.ones_like(batch["labels"])
