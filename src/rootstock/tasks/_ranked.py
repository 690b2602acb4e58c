"""Rows in the order of a value of theirs: ranks, and areas under ROC curves, of many sets of rows at once.

Shape letters: N rows, R sets of rows, C classes or labels, M different values.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rootstock.core.tally import Groups, ratio

_EXACT = 10_000
"""Rows times classes above which areas of resamples go by each row's part in them: a thousand exact ones would take more than a second."""


@dataclass(frozen=True, eq=False)
class Valued:
    """Rows by a value of theirs, in the order of the different values."""

    groups: Groups
    place: np.ndarray

    @classmethod
    def of(cls, values_N: np.ndarray) -> "Valued":
        """By the value of each row."""
        different_M, place_N = np.unique(values_N, return_inverse=True)
        return cls(Groups.of(place_N, len(different_M)), place_N)

    def ranks(self, counts_RN: np.ndarray) -> np.ndarray:
        """1-based ranks of the values within each set, [R, N]; equal values share the mean of theirs."""
        return self._middles(counts_RN)[:, self.place] + 0.5

    def area(self, counts_RN: np.ndarray, positive_N: np.ndarray) -> np.ndarray:
        """Chance that a positive row has a higher value than a negative one, ties half, [R]; NaN where one kind is missing."""
        yes_RM = self.groups.sums(counts_RN * positive_N)
        no_RM = self.groups.sums(counts_RN) - yes_RM
        below_RM = np.cumsum(no_RM, axis=1) - no_RM / 2
        return ratio((yes_RM * below_RM).sum(1), yes_RM.sum(1) * no_RM.sum(1))

    def parts(self, positive_N: np.ndarray) -> np.ndarray:
        """How much one more of each row moves that area, [N]: DeLong, DeLong and Clarke-Pearson 1988. Both kinds of rows are there."""
        yes, no = float(positive_N.sum()), float((~positive_N).sum())
        below_N, above_N = self._middles(1.0 * ~positive_N[None])[0], yes - self._middles(1.0 * positive_N[None])[0]
        area = below_N[self.place][positive_N].sum() / (yes * no)
        found_N: np.ndarray = np.where(positive_N, (below_N[self.place] / no - area) / yes, (above_N[self.place] / yes - area) / no)
        return found_N

    def _middles(self, counts_RN: np.ndarray) -> np.ndarray:
        """Rows below each value and half of those that have it, [R, M]."""
        held_RM = self.groups.sums(counts_RN)
        return np.asarray(np.cumsum(held_RM, axis=1) - held_RM / 2)


def ranks(values_N: np.ndarray) -> np.ndarray:
    """1-based ranks; equal values share the mean of theirs."""
    found_RN = Valued.of(values_N).ranks(np.ones((1, len(values_N))))
    return np.asarray(found_RN[0])


@dataclass(frozen=True, eq=False)
class Areas:
    """Classes against the rest, by the scores of rows and which are of each, both [N, C]."""

    scores: np.ndarray
    positive: np.ndarray

    @cached_property
    def classes(self) -> list[tuple[Valued, np.ndarray]]:
        """Rows by the score of each, and which are of it."""
        return [(Valued.of(scores_N), positive_N) for scores_N, positive_N in zip(self.scores.T, self.positive.T, strict=True)]

    @cached_property
    def whole(self) -> float:
        """Of all rows."""
        return float(self._exact(np.ones((1, len(self.scores))))[0])

    @cached_property
    def moves(self) -> np.ndarray:
        """How much one more of each row moves the mean, [N]."""
        parts = [valued.parts(positive_N) for valued, positive_N in self.classes if positive_N.any() and not positive_N.all()]
        return np.mean(parts, axis=0) if parts else np.full(len(self.scores), np.nan)

    def mean(self, counts_RN: np.ndarray) -> np.ndarray:
        """Mean of the areas of the classes that have both kinds of rows, [R]; NaN where none has.

        Resamples of many rows and classes go by each row's part, which leaves out what two rows do together.
        """
        if self.scores.size <= _EXACT or (counts_RN.sum(1) != len(self.scores)).any() or (counts_RN == 1).all():
            return self._exact(counts_RN)
        return np.asarray(np.clip(self.whole + counts_RN @ self.moves, 0.0, 1.0))

    def _exact(self, counts_RN: np.ndarray) -> np.ndarray:
        areas_CR = np.array([valued.area(counts_RN, positive_N) for valued, positive_N in self.classes]).reshape(-1, len(counts_RN))
        return ratio(np.nansum(areas_CR, axis=0), np.isfinite(areas_CR).sum(0))
