"""Losses of classes with what people add to them, each summed over rows in nats.

Focal loss: Lin et al. 2017, arXiv:1708.02002. Label smoothing: Szegedy et al. 2016, arXiv:1512.00567. R-Drop: Liang et al. 2021,
arXiv:2106.14448. Shape letters: B rows, C classes or labels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def categorical(logits_BC: Tensor, labels_B: Tensor, weight_C: Tensor | None, *, focal: float, smoothing: float) -> Tensor:
    """Cross-entropy of one class a row; under `focal` each row times (1 - p) ** focal, p the probability of its class."""
    if not focal:
        return F.cross_entropy(logits_BC, labels_B, weight=weight_C, reduction="sum", label_smoothing=smoothing)
    lost_B = F.cross_entropy(logits_BC, labels_B, weight=weight_C, reduction="none", label_smoothing=smoothing)
    known_B = logits_BC.softmax(-1).gather(1, labels_B[:, None])[:, 0]
    return ((1 - known_B) ** focal * lost_B).sum()


def binary(logits_BC: Tensor, labels_BC: Tensor, weight_C: Tensor | None, *, focal: float) -> Tensor:
    """Binary cross-entropy of each label; under `focal` each times (1 - p) ** focal, p the probability of its answer."""
    lost_BC = F.binary_cross_entropy_with_logits(logits_BC, labels_BC, pos_weight=weight_C, reduction="none")
    if not focal:
        return lost_BC.sum()
    yes_BC = logits_BC.sigmoid()
    known_BC = torch.where(labels_BC > 0, yes_BC, 1 - yes_BC)
    return ((1 - known_BC) ** focal * lost_BC).sum()


def apart(first_BC: Tensor, second_BC: Tensor, several: bool) -> Tensor:
    """Mean of both Kullback-Leibler divergences between two answers to the same rows, summed over rows (over labels where several)."""
    if several:
        first_BC, second_BC = (torch.stack([-each, each], -1) / 2 for each in (first_BC, second_BC))
    p, q = first_BC.log_softmax(-1), second_BC.log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum() / 2
