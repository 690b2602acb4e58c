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


@dataclass(frozen=True)
class Drawn:
    """A figure of one way to train with each seed, on all rows [S] and on resamples of them [R, S]."""

    whole: np.ndarray
    resampled: np.ndarray
    rows: int

    @property
    def mean(self) -> float:
        """Over the seeds, on all rows."""
        return float(self.whole.mean())


def draw(answers: Sequence[Answered], figure: str, *, seed: int, resamples: int = 1000) -> Drawn:
    """Answers of one way, one a seed. Equal seeds draw the same rows, so what two ways give on the same rows is paired."""
    rng, rows = np.random.default_rng(seed), answers[0].rows
    chosen = (rng.integers(0, rows, rows) for _ in range(resamples))
    drawn_RS = np.array([[each.figure(figure, chosen_N) for each in answers] for chosen_N in chosen])
    return Drawn(np.array([each.figure(figure) for each in answers]), drawn_RS, rows)


def difference(first: Drawn, second: Drawn, *, seed: int) -> Difference:
    """Of two ways that were tried with the same seeds on the same test rows, and drawn with the same seed.

    Every resample draws rows, the same for all, and seeds, the same for both ways. Few seeds drawn from themselves vary too little by the
    share 1 / S; their deviations are widened by as much. With one seed the interval speaks of rows alone.
    """
    apart_RS = first.resampled - second.resampled
    resamples, seeds = apart_RS.shape
    wider = (seeds / (seeds - 1)) ** 0.5 if seeds > 1 else 1.0
    chosen_RS = np.random.default_rng(seed).integers(0, seeds, (resamples, seeds))
    middle_R = apart_RS.mean(1)
    moved_R = middle_R + wider * (np.take_along_axis(apart_RS, chosen_RS, axis=1).mean(1) - middle_R)
    low, high = interval(moved_R) or (0.0, 0.0)
    return Difference(first.mean - second.mean, (low, high), first.rows >= FEWEST and (low > 0 or high < 0))
