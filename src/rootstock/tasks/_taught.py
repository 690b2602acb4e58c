"""What is written token by token, learned from a teacher over one vocabulary: its likeliest tokens at a place, and all others as one.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531, on each token that is asked. Whole distributions would be gigabytes on disk: the K
likeliest of V tokens are kept with their log-probabilities, and what is left of 1 is one more outcome for both. The divergence between such
distributions is never above that of the whole ones, and is the same where K is V.

Shape letters: B rows, T positions, M positions with a label, C positions of a part, H width, V vocabulary, K tokens that are kept.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from rootstock.core.rows import TEACHER, Columns, boxed
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _vocabulary

_PART = 512
"""Positions whose scores exist at once."""
_LEAST = 1e-12
"""Of what is left of 1, so that its logarithm is finite."""


@torch.no_grad()
def said(model: nn.Module, inputs: Batch, labels_BT: Tensor, *, top: int, temperature: float) -> Columns:
    """Numbers and log-probabilities of the likeliest tokens at each place that is asked, a row's as [M, K, 2]."""
    found = _vocabulary.asked(model, inputs, labels_BT)
    rows_M, count = _vocabulary.rows_asked(labels_BT)
    parts = []
    for hidden_CH in torch.split(found.hidden, _PART):
        logs_CV = (_vocabulary.exact_scores(hidden_CH, found.layer) / temperature).log_softmax(-1)
        logs_CK, ids_CK = logs_CV.topk(min(top, logs_CV.shape[-1]), dim=-1)
        parts.append(torch.stack([ids_CK.float(), logs_CK], -1).cpu().numpy())  # ids are whole numbers below 2^24
    told_MK2, row_M = np.concatenate(parts), rows_M.cpu().numpy()
    return {TEACHER: boxed([told_MK2[row_M == row] for row in range(count)])}


def loss(model: nn.Module, inputs: Batch, batch: Batch, rows_BT: Tensor | None, *, weight: float, temperature: float) -> Loss:
    """(1 - weight) * L(labels) + weight * T^2 * KL(teacher || student) where it is asked, summed. rows_BT: as rows_asked takes it."""
    found = _vocabulary.asked(model, inputs, batch["labels"])
    told_MK2 = batch[TEACHER][_places(*_vocabulary.rows_asked(batch["labels"], rows_BT))]

    def losses(hidden_CH: Tensor, labels_C: Tensor, told_CK2: Tensor) -> Tensor:
        scores_CV = _vocabulary.exact_scores(hidden_CH, found.layer)
        by_labels = functional.cross_entropy(scores_CV, labels_C, reduction="sum")
        apart_C = apart((scores_CV / temperature).log_softmax(-1), told_CK2)
        return (1 - weight) * by_labels + weight * temperature**2 * apart_C.sum()

    parts = zip(*(torch.split(each, _PART) for each in (found.hidden, found.labels, told_MK2)), strict=True)
    total = sum((checkpoint(losses, *part, use_reentrant=False) for part in parts), torch.zeros((), device=found.hidden.device))
    return Loss(total, len(found.labels))


def apart(logs_CV: Tensor, told_CK2: Tensor) -> Tensor:
    """KL of a student's log-probabilities from what a teacher said, over the kept tokens and all others as one, [C]."""
    ids_CK, log_p_CK = told_CK2[..., 0].long(), told_CK2[..., 1]
    log_q_CK = logs_CV.gather(1, ids_CK)
    left_p_C, left_q_C = (1 - each.exp().sum(-1) for each in (log_p_CK, log_q_CK))
    kept_C = (log_p_CK.exp() * (log_p_CK - log_q_CK)).sum(-1)
    if ids_CK.shape[1] == logs_CV.shape[1]:
        return kept_C
    left_p_C, left_q_C = left_p_C.clamp(min=_LEAST), left_q_C.clamp(min=_LEAST)
    return kept_C + left_p_C * (left_p_C.log() - left_q_C.log())


def _places(rows_M: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The row of each asked position and which of that row's it is: rows that share lines come in any order, a row's own in theirs."""
    order_M = rows_M.argsort(stable=True)
    counts_B = torch.bincount(rows_M, minlength=count)
    starts_B = counts_B.cumsum(0) - counts_B
    within_M = torch.empty_like(rows_M)
    within_M[order_M] = torch.arange(len(rows_M), device=rows_M.device) - starts_B[rows_M[order_M]]
    return rows_M, within_M
