"""Percentile bootstrap over rows: how far a figure would move had other rows been drawn from the same source.

Shape letters: N rows, R resamples, F figures.
Columns of equal length and an equal seed draw the same rows, so the draws of two models on one test set are paired: subtract them.
"""

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from rootstock.core.rows import Columns

Metrics = Callable[[Columns, Collection[str] | None], dict[str, float]]
"""A task's `metrics`: figures of columns, limited to the given names. It works out only these, or a thousand resamples take a minute."""

FEWEST = 20
"""Rows that a difference needs to be called real: on fewer the percentile bootstrap is known to be too narrow."""
_Z = 1.959963984540054
"""The normal distribution's place of 97.5 %."""


def draws(columns: Columns, metrics: Metrics, *, names: Sequence[str], seed: int, resamples: int = 1000) -> np.ndarray:
    """The named figures on resamples of the rows, [R, F]; NaN where a resample does not define one (it held one class only, say)."""
    generator = np.random.default_rng(seed)
    rows = len(next(iter(columns.values())))
    found_RF = np.full((resamples, len(names)), np.nan)
    for figures_F in found_RF:
        chosen_N = generator.integers(0, rows, rows)
        figures = metrics({name: values[chosen_N] for name, values in columns.items()}, names)
        figures_F[:] = [figures.get(name, np.nan) for name in names]
    return found_RF


def interval(draws_R: np.ndarray, *, level: float = 0.95) -> tuple[float, float] | None:
    """The middle `level` of the draws that are defined, or None where none is."""
    defined = draws_R[np.isfinite(draws_R)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    columns: Columns, metrics: Metrics, *, names: Sequence[str], seed: int, resamples: int = 1000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Interval of each named figure, the ones undefined on these rows left out.

    A figure at its bound on few rows (all of five right) gets an interval of no width: rows that were not seen can't be resampled.
    """
    found_RF = draws(columns, metrics, names=names, seed=seed, resamples=resamples)
    intervals = {name: interval(found_R, level=level) for name, found_R in zip(names, found_RF.T, strict=True)}
    return {name: found for name, found in intervals.items() if found is not None}


def wilson(right: float, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; it keeps its width where all are right."""
    if not total:
        return 0.0, 1.0
    share, z2 = right / total, _Z * _Z
    middle, half = share + z2 / (2 * total), _Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    low, high = (middle - half) / (1 + z2 / total), (middle + half) / (1 + z2 / total)
    return low if right else 0.0, high if right < total else 1.0


def at_the_edge(found: tuple[float, float], rows: int) -> tuple[float, float]:
    """A share that every resample agrees on (all right, all wrong) still has an interval: Wilson's."""
    low, high = found
    return wilson(low * rows, rows) if low == high and low in (0.0, 1.0) else found
