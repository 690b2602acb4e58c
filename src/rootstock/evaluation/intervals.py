"""How far a figure would move had other rows been drawn from the same source: a bootstrap's variance, an interval by the figure's limits.

Percentiles of a bootstrap are too narrow near a limit and on few rows (of 100 rows with 97 % right, 89 % of Matthews' intervals hold the
truth: docs/log.md). So resamples give the variance alone. The interval is Wilson's for a figure between two limits, on as many rows as
would give a plain share that variance, and Student's for any other. Wilson's of (r + 1) / 2 is nearly Fisher's z of a correlation.

Shape letters: N rows, R resamples, F figures, G groups of rows.
Columns of equal length and an equal seed draw the same rows, so the draws of two models on one test set are paired: subtract them.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from scipy.special import stdtrit

from rootstock.core.rows import Columns
from rootstock.core.tally import Tally
from rootstock.core.task import Labelled

Metrics = Callable[[Columns, Collection[str] | None], dict[str, float]]
"""A task's `metrics`: figures of columns, limited to the given names. It works out only these, or a thousand resamples take a minute."""
Limits = tuple[float, float] | None
"""The least and the largest value that a figure can have; None where it has neither, infinite where it lacks one."""

FEWEST = 20
"""Rows that a difference needs to be called real: on fewer no interval is known to be wide enough."""
_Z = 1.959963984540054
"""The normal distribution's place of 97.5 %."""
_MANY = 1e6
"""Degrees of freedom from which on Student's distribution is the normal one."""
_ALIKE = 1e-15
"""Variance, in shares, below which resamples differ by rounding alone."""
_ROOM = 1 << 18
"""Drawn rows that are held at a time: 2 MB."""
_SHARES = ("accuracy", "f1", "precision", "recall", "exact_match", "rouge1", "rouge2", "rougeL", "roc_auc", "calibration_error")
_LIMITS: dict[tuple[str, ...], tuple[float, float]] = {
    _SHARES: (0.0, 1.0),
    ("spearman", "pearson", "matthews"): (-1.0, 1.0),
    ("bleu", "chrf"): (0.0, 100.0),
    ("log_loss", "absolute_error", "squared_error"): (0.0, math.inf),
    ("perplexity",): (1.0, math.inf),
    ("r2",): (-math.inf, 1.0),
}


def limits(name: str) -> Limits:
    """Those of a figure by its name; shares, areas, correlations and the scores of sacrebleu have two. ndcg@10 and its like are shares."""
    return (0.0, 1.0) if "@" in name else next((found for ends, found in _LIMITS.items() if name.endswith(ends)), None)


def tallied(task: Labelled, columns: Columns, names: Sequence[str]) -> Tally:
    """What makes these figures on many sets of rows of these judged columns: all sets at once where the task can, or one by one."""
    return task.tally(columns, names) or one_by_one(columns, task.metrics, names)


def ends(tally: Tally, drawn_RF: np.ndarray, whole: Mapping[str, float]) -> dict[str, list[float]]:
    """95 % intervals of the figures of a tally that have one, from what it makes of resamples. whole: the figures of all rows."""
    found = {}
    for name, drawn_R in zip(tally.names, drawn_RF.T, strict=True):
        within = limits(name)
        if name in whole and (between := interval(drawn_R, whole[name], tally.go_by.get(name, tally.rows), within=within)):
            least = within[0] if within else -math.inf
            found[name] = [max(between[0] - tally.above.get(name, 0.0), least), between[1]]
    return found


def between(columns: Columns, task: Labelled, whole: Mapping[str, float], *, seed: int) -> dict[str, list[float]]:
    """95 % intervals of figures of judged columns, which are `whole` on all rows."""
    tally = tallied(task, columns, list(whole))
    return ends(tally, draws(columns, tally, names=tally.names, seed=seed), whole) if whole else {}


def draws(
    columns: Columns, metrics: Metrics | Tally, *, names: Sequence[str], seed: int, resamples: int = 1000, groups: np.ndarray | None = None
) -> np.ndarray:
    """The named figures on resamples of the rows, [R, F]; NaN where a resample does not define one (it held one class only, say).

    metrics: of `tallied`, of the same names. groups [N]: equal numbers for rows that tell no more than one of them would, as those
    of equal texts; they are drawn together.
    """
    tally = metrics if isinstance(metrics, Tally) else one_by_one(columns, metrics, names)
    rows = len(next(iter(columns.values())))
    return np.concatenate([tally.of(counts_RN) for counts_RN in resampled(rows, seed=seed, resamples=resamples, groups=groups)])


def one_by_one(columns: Columns, metrics: Metrics, names: Sequence[str]) -> Tally:
    """The figures of sets of rows, measured one set after the other."""

    def of(counts_RN: np.ndarray) -> np.ndarray:
        found_RF = np.full((len(counts_RN), len(names)), np.nan)
        for figures_F, counts_N in zip(found_RF, counts_RN, strict=True):
            chosen = np.repeat(np.arange(len(counts_N)), counts_N.astype(np.int64))
            figures = metrics({name: values[chosen] for name, values in columns.items()}, names)
            figures_F[:] = [figures.get(name, np.nan) for name in names]
        return found_RF

    return Tally(tuple(names), len(next(iter(columns.values()))), of)


def resampled(rows: int, *, seed: int, resamples: int = 1000, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Resamples as how often each of them holds each row, as many at a time as fit, [R, N]."""
    chosen = iter(_resampled(rows, groups, seed=seed, resamples=resamples))
    most = max(1, _ROOM // max(rows, 1))
    while part := list(islice(chosen, most)):
        own = np.concatenate([chosen_N + place * rows for place, chosen_N in enumerate(part)])
        yield np.bincount(own, minlength=len(part) * rows).reshape(len(part), rows).astype(np.float64)


def _resampled(rows: int, groups_N: np.ndarray | None, *, seed: int, resamples: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    if groups_N is None:
        return (chosen_N for part in _parts(resamples, rows) for chosen_N in generator.integers(0, rows, (part, rows)))
    count, members = _members(groups_N)
    return (members(generator.integers(0, count, count)) for _ in range(resamples))


def _parts(resamples: int, rows: int) -> Iterator[int]:
    """So many resamples at a time: the generator gives the same numbers in one call as in several, which cost more."""
    most = max(1, _ROOM // max(rows, 1))
    return (min(most, resamples - start) for start in range(0, resamples, most))


def _members(groups_N: np.ndarray) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """How many groups there are, and the rows of some of them by their numbers, which they have in the order of their first rows."""
    _, first_G, back_N = np.unique(groups_N, return_index=True, return_inverse=True)
    group_N = np.argsort(np.argsort(first_G))[back_N]
    order_N, size_G = np.argsort(group_N, kind="stable"), np.bincount(group_N)
    start_G = np.cumsum(size_G) - size_G

    def members(chosen: np.ndarray) -> np.ndarray:
        sizes = size_G[chosen]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.asarray(order_N[np.repeat(start_G[chosen], sizes) + within])

    return len(size_G), members


def freedom(*parts: tuple[float, float]) -> float:
    """Student's degrees of freedom of a sum of variances, each given with those that tell it: Welch and Satterthwaite's."""
    told = sum(part**2 / own for part, own in parts)
    return min(sum(part for part, _ in parts) ** 2 / told, _MANY) if told else _MANY


def variance(draws_R: np.ndarray, rows: int) -> float:
    """That of a figure of `rows` independent rows, from its resamples; a bootstrap's own is too small by the share of one row."""
    defined = draws_R[np.isfinite(draws_R)]
    return float(defined.var()) * rows / (rows - 1) if rows > 1 and len(defined) else 0.0


def quantile(rows: int) -> float:
    """Student's place of 97.5 %, for a variance that so many rows tell."""
    return float(stdtrit(rows - 1, 0.975)) if rows > 1 else math.inf


def interval(draws_R: np.ndarray, whole: float, rows: int, *, within: Limits) -> tuple[float, float] | None:
    """The 95 % interval of a figure that is `whole` on all rows; None where no resample defines it, or one row alone tells no spread.

    rows: independent ones, such as documents. within: the figure's limits. A figure at its limit, from which no resample differs, has
    Wilson's interval of as many rows.
    """
    if not np.isfinite(draws_R).any() or (rows < 2 and not _shut(within)):
        return None
    return around(whole, variance(draws_R, rows), place=quantile(rows), rows=rows, within=within)


def _shut(within: Limits) -> bool:
    """Whether a figure lies between two values."""
    return within is not None and math.isfinite(within[0]) and math.isfinite(within[1])


def around(whole: float, spread: float, *, place: float, rows: int, within: Limits) -> tuple[float, float]:
    """The 95 % interval of a figure with that variance. place: Student's of 97.5 %."""
    low, high = within or (-math.inf, math.inf)
    if not _shut(within):
        half = place * math.sqrt(spread)
        return max(whole - half, low), min(whole + half, high)
    share = min(max((whole - low) / (high - low), 0.0), 1.0)
    alike = share * (1 - share) * (high - low) ** 2 / spread if spread > _ALIKE * (high - low) ** 2 else 0.0
    found = wilson(share * (alike or rows), alike or rows, place if math.isfinite(place) else _Z)
    return low + found[0] * (high - low), low + found[1] * (high - low)


def bootstrap(
    columns: Columns, metrics: Metrics, *, names: Sequence[str], seed: int, resamples: int = 1000
) -> dict[str, tuple[float, float]]:
    """Interval of each named figure, the ones undefined on these rows left out."""
    rows, figures = len(next(iter(columns.values()))), metrics(columns, names)
    found_RF = draws(columns, metrics, names=names, seed=seed, resamples=resamples)
    of = {name: found_R for name, found_R in zip(names, found_RF.T, strict=True) if name in figures}
    intervals = {name: interval(found_R, figures[name], rows, within=limits(name)) for name, found_R in of.items()}
    return {name: found for name, found in intervals.items() if found is not None}


def wilson(right: float, total: float, quantile: float = _Z) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; it keeps its width where all are right."""
    if not total:
        return 0.0, 1.0
    share, z2 = right / total, quantile * quantile
    middle, half = share + z2 / (2 * total), quantile * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    low, high = (middle - half) / (1 + z2 / total), (middle + half) / (1 + z2 / total)
    return low if right else 0.0, high if right < total else 1.0
