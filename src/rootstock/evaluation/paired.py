"""Paired bootstrap over test rows and seeds: how far the difference of two ways to train would move with other rows and other seeds.

Shape letters: R resamples, S seeds, N rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rootstock.core.rows import Columns
from rootstock.core.task import Labelled
from rootstock.evaluation.intervals import interval

FEWEST = 20
"""Rows that a difference needs to be called real: on fewer the percentile bootstrap is known to be too narrow."""


@dataclass(frozen=True)
class Answered:
    """Answers of one trained model on the test rows, and the task that makes figures of them."""

    columns: Columns
    task: Labelled

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.columns["answers"])

    def figure(self, name: str, chosen_N: np.ndarray | None = None) -> float:
        """A figure of all rows or the chosen ones; 0 where it is not defined, as the correlation of a constant."""
        columns = self.columns if chosen_N is None else {key: values[chosen_N] for key, values in self.columns.items()}
        return self.task.metrics(columns, (name,)).get(name, 0.0)


@dataclass(frozen=True)
class Difference:
    """The mean over seeds of first minus second, its interval at 95 %, and whether the test rows and seeds tell the two apart."""

    value: float
    interval: tuple[float, float]
    separable: bool


def difference(first: Sequence[Answered], second: Sequence[Answered], figure: str, *, seed: int, resamples: int = 1000) -> Difference:
    """Of two ways that were tried with the same seeds on the same test rows.

    Every resample draws rows, the same for all, and seeds, the same for both ways. Few seeds drawn from themselves vary too little by the
    share 1 / S; their deviations are widened by as much. With one seed the interval speaks of rows alone.
    """
    rng, rows, seeds = np.random.default_rng(seed), first[0].rows, len(first)
    drawn_R = np.empty(resamples)
    wider = (seeds / (seeds - 1)) ** 0.5 if seeds > 1 else 1.0
    for place in range(resamples):
        chosen_N = rng.integers(0, rows, rows)
        apart_S = _apart(first, second, figure, chosen_N)
        middle = apart_S.mean()
        drawn_R[place] = middle + wider * (apart_S[rng.integers(0, seeds, seeds)].mean() - middle)
    low, high = interval(drawn_R) or (0.0, 0.0)
    return Difference(float(_apart(first, second, figure).mean()), (low, high), rows >= FEWEST and (low > 0 or high < 0))


def _apart(first: Sequence[Answered], second: Sequence[Answered], figure: str, chosen_N: np.ndarray | None = None) -> np.ndarray:
    """What the first gains over the second with each seed, [S]."""
    return np.array([one.figure(figure, chosen_N) - other.figure(figure, chosen_N) for one, other in zip(first, second, strict=True)])
