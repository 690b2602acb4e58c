"""Losses of classes with what people add to them, each of a row in nats.

Focal loss: Lin et al. 2017, arXiv:1708.02002. Label smoothing: Szegedy et al. 2016, arXiv:1512.00567. R-Drop: Liang et al. 2021,
arXiv:2106.14448. Distillation: Hinton et al. 2015, arXiv:1503.02531. Shape letters: B rows, C classes or labels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def categorical(logits_BC: Tensor, labels_B: Tensor, weight_C: Tensor | None, *, focal: float, smoothing: float) -> Tensor:
    """Cross-entropy of one class a row; under `focal` each row times (1 - p) ** focal, p the probability of its class. [B]"""
    lost_B = F.cross_entropy(logits_BC, labels_B, weight=weight_C, reduction="none", label_smoothing=smoothing)
    if not focal:
        return lost_B
    known_B = logits_BC.softmax(-1).gather(1, labels_B[:, None])[:, 0]
    return (1 - known_B) ** focal * lost_B


def binary(logits_BC: Tensor, labels_BC: Tensor, weight_C: Tensor | None, *, focal: float) -> Tensor:
    """Binary cross-entropy of a row's labels; under `focal` each times (1 - p) ** focal, p the probability of its answer. [B]"""
    lost_BC = F.binary_cross_entropy_with_logits(logits_BC, labels_BC, pos_weight=weight_C, reduction="none")
    if not focal:
        return lost_BC.sum(-1)
    yes_BC = logits_BC.sigmoid()
    known_BC = torch.where(labels_BC > 0, yes_BC, 1 - yes_BC)
    return ((1 - known_BC) ** focal * lost_BC).sum(-1)


def soft(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of answers from a teacher's over the last dimension, both at a temperature, times its square. [...]

    The square keeps gradients at one size whatever the temperature. Where `wanted` is nan nothing is asked, and it is 0.
    """
    asked = ~wanted.isnan().any(-1)
    wanted = torch.where(asked[..., None], wanted, 0.0)
    log_q, log_p = (logits / temperature).log_softmax(-1), (wanted / temperature).log_softmax(-1)
    return temperature**2 * asked * (log_p.exp() * (log_p - log_q)).sum(-1)


def soft_binary(logits_BC: Tensor, wanted_BC: Tensor, temperature: float) -> Tensor:
    """The same of labels that are there or not, each by itself, summed over a row's labels. [B]"""
    # logits of yes and no half each: their softmax is the sigmoid
    pair, wanted = (torch.stack([-each, each], -1) / 2 for each in (logits_BC, wanted_BC))
    return soft(pair, wanted, temperature).sum(-1)


def apart(first_BC: Tensor, second_BC: Tensor, several: bool) -> Tensor:
    """Mean of both Kullback-Leibler divergences between two answers to the same rows, summed over rows (over labels where several)."""
    if several:
        first_BC, second_BC = (torch.stack([-each, each], -1) / 2 for each in (first_BC, second_BC))
    p, q = first_BC.log_softmax(-1), second_BC.log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum() / 2
