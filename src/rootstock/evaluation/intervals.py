"""Percentile bootstrap over rows: how far a figure would move had other rows been drawn from the same source.

Shape letters: N rows, R resamples, F figures.
Columns of equal length and an equal seed draw the same rows, so the draws of two models on one test set are paired: subtract them.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from rootstock.core.rows import Columns

Metrics = Callable[[Columns, Collection[str] | None], dict[str, float]]
"""A task's `metrics`: figures of columns, limited to the given names. It works out only these, or a thousand resamples take a minute."""


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


def at_the_edge(found: tuple[float, float], rows: int) -> tuple[float, float]:
    """A share that every resample agrees on (all right, all wrong) still has an interval: Wilson's, at 95 %."""
    low, high = found
    beyond = 1.96**2 / (rows + 1.96**2)
    if low == high == 1.0:
        return 1 - beyond, 1.0
    return (0.0, beyond) if low == high == 0.0 else found
