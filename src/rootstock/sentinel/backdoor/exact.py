"""Exact small statistics: intervals of shares, p-values by rank, Holm's correction, and the tail beyond what was seen."""

from collections.abc import Sequence

import numpy as np


def interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    from scipy.stats import beta

    if not n:
        return 0.0, 1.0
    outside = (1 - level) / 2
    low = float(beta.ppf(outside, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - outside, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def by_rank(value: float, others: Sequence[float]) -> float:
    """p of a value among exchangeable others: (1 + those that are as large) / (1 + all). Its smallest is 1 / (n + 1)."""
    return (1 + sum(each >= value for each in others)) / (len(others) + 1)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values, in their own order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found, reached = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        reached = max(reached, min(1.0, values[place] * (len(values) - rank)))
        found[place] = reached
    return found


def bound(clean: int, alarms: int = 0) -> float:
    """Highest rate of false alarms that so many alarms in so many clean models leave open, at 95 % (with none about 3 / n)."""
    from scipy.stats import beta

    return 1.0 if not clean or alarms >= clean else float(beta.ppf(0.95, alarms + 1, clean - alarms))


def tail(value: float, seen: np.ndarray) -> float:
    """Chance that one of as many draws as were seen is as large, by a generalised Pareto tail (approximate).

    The tail is fitted to the quantiles 99, 99.5 and 99.9 % alone, so that what is planted above them has no part in it.
    """
    low, middle, high = np.quantile(seen, [0.99, 0.995, 0.999])
    if value <= low or not low < middle < high:
        return 1.0
    ratio = (high - low) / (middle - low)
    left, right = -2.0, 5.0  # (10^x - 1) / (2^x - 1) grows with x
    for _ in range(60):
        shape = (left + right) / 2
        at = np.log(10) / np.log(2) if abs(shape) < 1e-9 else (10**shape - 1) / (2**shape - 1)
        left, right = (shape, right) if at < ratio else (left, shape)
    shape = (left + right) / 2
    if abs(shape) < 1e-6:
        beyond = float(np.exp(-(value - low) * np.log(2) / (middle - low)))
    else:
        scale = (middle - low) * shape / (2**shape - 1)
        base = 1 + shape * (value - low) / scale
        beyond = float(base ** (-1 / shape)) if base > 0 else 0.0
    return float(min(1.0, len(seen) * 0.01 * beyond))
