"""Does a model remember single rows: an exact test on planted canaries, and a membership audit by losses.

Shape letters: P planted, C controls, N rows.
"""

from typing import NamedTuple

import numpy as np


class Remembered(NamedTuple):
    """p: exact, of ranks as low under no memory. exposure [P]: log2 of controls and one over each planted one's rank among them, in bits.

    expected: mean exposure without memory.
    """

    p: float
    exposure: np.ndarray
    expected: float


def remembered(planted_P: np.ndarray, control_C: np.ndarray) -> Remembered:
    """Losses of planted canaries against those of controls that were drawn alike (Carlini et al. 2019; Mann and Whitney 1947).

    A rank is 1 where all controls are less likely; of equal losses half stand before.
    """
    from scipy.stats import mannwhitneyu

    lower_P = (control_C < planted_P[:, None]).sum(1) + 0.5 * (control_C == planted_P[:, None]).sum(1)
    places = len(control_C) + 1
    whole = np.concatenate([planted_P, control_C])
    method = "exact" if len(np.unique(whole)) == len(whole) else "asymptotic"
    p = float(mannwhitneyu(planted_P, control_C, alternative="less", method=method).pvalue)
    return Remembered(p, np.log2(places) - np.log2(lower_P + 1), float(np.log2(places) - np.log2(np.arange(1, places + 1)).mean()))


def figures(score_N: np.ndarray, member_N: np.ndarray, *, alarms: float = 0.01) -> dict[str, float]:
    """roc_auc: the chance that a member scores above another; recall: members found where `alarms` of the others are called members."""
    from scipy.stats import rankdata

    member_N = member_N.astype(bool)
    inside, outside = int(member_N.sum()), int((~member_N).sum())
    if not inside or not outside:
        return {}
    area = (rankdata(score_N)[member_N].sum() - inside * (inside + 1) / 2) / (inside * outside)
    allowed = int(alarms * outside)  # of the others, above the threshold
    threshold = np.sort(score_N[~member_N])[::-1][allowed]
    return {"roc_auc": float(area), "recall": float((score_N[member_N] > threshold).mean())}
