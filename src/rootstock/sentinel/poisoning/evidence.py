"""What the labels of a group of rows say: the correlation as it is, and what of it the meaning of the texts does not explain.

Shape letters: K groups, C classes, G rows of a group.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import binom

from rootstock.sentinel.poisoning.groups import Groups

_SURE = 3.0
"""Standard errors that the bound of a shift lies below it."""
_STEPS = 40


@dataclass(frozen=True, eq=False)
class Counted:
    """Of each group and class, [K, C]: rows with that label, the z of their share against the label's own, and its p, one-sided, after
    Benjamini and Hochberg. sizes [K]."""

    sizes: np.ndarray
    labelled: np.ndarray
    z: np.ndarray
    p: np.ndarray


def counted(groups: Groups, answer_NC: np.ndarray) -> Counted:
    """Plain counts of every group: the z of Z-defence (He et al. 2023), (share - prior) / sqrt(prior (1 - prior) / rows)."""
    sizes_K, prior_C = np.diff(groups.held.indptr), answer_NC.mean(0)
    labelled_KC = np.asarray(groups.held.astype(np.float64).T @ answer_NC).round().astype(np.int64).reshape(len(groups), -1)
    spread_KC = np.sqrt(np.maximum(prior_C * (1 - prior_C), 1e-12) / np.maximum(sizes_K, 1)[:, None])
    z_KC = (labelled_KC / np.maximum(sizes_K, 1)[:, None] - prior_C) / spread_KC
    return Counted(sizes_K, labelled_KC, z_KC, adjusted(binom.sf(labelled_KC - 1, sizes_K[:, None], prior_C)))


def adjusted(p: np.ndarray) -> np.ndarray:
    """p-values after Benjamini and Hochberg (1995), in the shape they came in: the false discovery rate at which each is one."""
    flat, order = p.ravel(), np.argsort(p, axis=None)
    stepped = flat[order] * len(flat) / np.arange(1, len(flat) + 1)
    found = np.empty_like(flat)
    found[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1)
    return found.reshape(p.shape)


@dataclass(frozen=True, eq=False)
class Tested:
    """A group and a label against meaning. rows [G]: of the group. chance_G: of the label, by all rows outside the group.

    with_label: rows that have it. expected: rows that would. surprise: standard errors between the two.

    shift: a lower bound, at three standard errors, of how far the label's log odds lie above meaning.
    forced: share of rows whose label the group alone decides.
    """

    group: int
    label: int
    rows: np.ndarray
    chance: np.ndarray
    has: np.ndarray
    with_label: int
    expected: float
    surprise: float
    shift: float
    forced: float

    def suspicion(self) -> np.ndarray:
        """[G]: of rows with the label, the probability that it was forced, not meant; 0 for the others."""
        forced = min(max(self.forced, 0.0), 1.0)
        return np.where(self.has, forced / np.maximum(forced + (1 - forced) * self.chance, 1e-12), 0.0)


def tested(group: int, label: int, rows_G: np.ndarray, chance_G: np.ndarray, has_G: np.ndarray) -> Tested:
    """The test of a group, or of those of its rows that are not explained yet."""
    count, total, expected = len(rows_G), int(has_G.sum()), float(chance_G.sum())
    forced = (total - expected) / max(count - expected, 1e-9) if count else 0.0
    surprise = (total - expected) / max(float(np.sqrt((chance_G * (1 - chance_G)).sum())), 1e-9)
    return Tested(group, label, rows_G, chance_G, has_G, total, expected, surprise, shift(total, chance_G), forced)


def shift(total: int, chance_G: np.ndarray) -> float:
    """The log odds that must be added to each row's so that `total` is three standard errors above what is then expected.

    The lower end of a score interval of a Poisson binomial, with half a row for continuity; -inf where there is none.
    """
    if not len(chance_G) or total < 1:
        return -np.inf
    odds_G, low, high = logit(np.clip(chance_G, 1e-9, 1 - 1e-9)), -30.0, 30.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        moved_G = expit(odds_G + middle)
        if total - 0.5 - float(moved_G.sum()) > _SURE * np.sqrt(float((moved_G * (1 - moved_G)).sum())):
            low = middle
        else:
            high = middle
    return low if low > -30 else -np.inf
