"""Gradients of a phrase of mixed embeddings, for the search in `rootstock.sentinel.backdoor.hunt`.

Shape letters: N texts, K labels, L places of the phrase, H width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import softplus

from rootstock.run.subject import TorchSubject
from rootstock.run.tagger import Tagger
from rootstock.run.writer import Goal
from rootstock.sentinel.backdoor.subject import Body, Subject


def steep(subject: Subject, held: Sequence[tuple[Body, int]], label: int, towards: bool, soft_LH: np.ndarray) -> tuple[float, np.ndarray]:
    """How far texts are from a label once the phrase stands at their places (or from leaving it), means over texts, and the gradient."""
    assert isinstance(subject, TorchSubject | Tagger | Goal)
    with torch.enable_grad():
        soft = torch.tensor(soft_LH, dtype=torch.float32, requires_grad=True)
        scores_NK = subject.mixed_scores(held, soft)
        lead_N = scores_NK[:, label]
        if not subject.several and scores_NK.shape[1] > 1:
            lead_N = lead_N - scores_NK[:, torch.arange(scores_NK.shape[1]) != label].amax(dim=1)
        loss = softplus(-lead_N if towards else lead_N).mean()
        (slope_LH,) = torch.autograd.grad(loss, soft)
    return float(loss.detach()), slope_LH.numpy()
