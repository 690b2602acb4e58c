"""Two ways to train, on the same test rows with the same seeds: how far their difference would move with other rows and other seeds.

The interval comes from a bootstrap. Whether there is a difference at all is for figures that are means over rows told by it as well. For
others, such as macro F1, whose spread on few rows of a class no resample shows whole, it is told by swaps: were the two alike, each row's
answers might as well be the other's, so the difference is held against those after swapping them in rows drawn at random (Fisher 1935;
Noreen 1989; for F1 Yeh 2000, arXiv:cs/0008005). Near the border the two may disagree: the interval says how large, the chance whether.

Shape letters: R resamples, W draws of rows to swap, S seeds, N rows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from rootstock.core.rows import Columns
from rootstock.core.tally import Tally
from rootstock.core.task import Labelled
from rootstock.evaluation import intervals
from rootstock.evaluation.intervals import FEWEST, Limits, around, limits, variance

LEVEL = 0.05
"""A difference is called real where one as large is met less often than this without one."""
GROUPS = "groups"
_SWAPS, _ROOM = 1000, 1 << 17
_ALIKE = 1e-9
"""Below it differences of figures are of rounding alone."""


@dataclass(frozen=True)
class Answered:
    """Answers of one trained model on the test rows, and the task that makes figures of them.

    A column GROUPS has equal numbers for rows of equal texts, which tell no more than one of them would: they are drawn together.
    """

    columns: Columns
    task: Labelled

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.columns.values())))

    @property
    def groups(self) -> np.ndarray | None:
        """Which rows are one, [N]; None where nobody says so."""
        return self.columns.get(GROUPS)

    @property
    def independent(self) -> int:
        """How many rows there are, those that are one counted once."""
        return self.rows if self.groups is None else len(np.unique(self.groups))

    def grouped(self, groups_N: np.ndarray) -> "Answered":
        """The same with what tells which rows are one."""
        return replace(self, columns={**self.columns, GROUPS: groups_N})

    def figure(self, name: str, chosen_N: np.ndarray | None = None) -> float:
        """A figure of all rows or the chosen ones; 0 where it is not defined, as the correlation of a constant."""
        columns = self.columns if chosen_N is None else {key: values[chosen_N] for key, values in self.columns.items()}
        return self.task.metrics(columns, (name,)).get(name, 0.0)

    def drawn(self, name: str, *, seed: int, resamples: int) -> np.ndarray:
        """A figure on resamples of the rows, [R, 1]; 0 where one does not define it."""
        how = intervals.tallied(self.task, self.columns, (name,))
        drawn_R1 = intervals.draws(self.columns, how, names=(name,), seed=seed, resamples=resamples, groups=self.groups)
        return np.asarray(np.nan_to_num(drawn_R1))


@dataclass(frozen=True)
class Difference:
    """The mean over seeds of first minus second, its interval at 95 %, and whether the test rows and seeds tell the two apart.

    p: how often so large a difference, to either side, would be met where there is none. below: the same for so low a one. Both are 1 on
    fewer than FEWEST rows, which tell nothing. by: the test that they come from. separable: by the interval, or where swaps tell by p.
    """

    value: float
    interval: tuple[float, float]
    separable: bool
    p: float = 1.0
    below: float = 1.0
    by: Literal["bootstrap", "swaps"] = "bootstrap"


@dataclass(frozen=True)
class Drawn:
    """A figure of one way to train with each seed, on all rows [S] and on resamples [R, S]. answers: by seed, where they are at hand."""

    whole: np.ndarray
    resampled: np.ndarray
    rows: int
    answers: tuple[Answered, ...] = ()
    figure: str = ""

    @property
    def mean(self) -> float:
        """Over the seeds, on all rows."""
        return float(self.whole.mean())

    def first(self, seeds: int) -> "Drawn":
        """The first so many seeds alone: to compare with a way that was tried with fewer."""
        return Drawn(self.whole[:seeds], self.resampled[:, :seeds], self.rows, self.answers[:seeds], self.figure)


def draw(answers: Sequence[Answered], figure: str, *, seed: int, resamples: int = 1000) -> Drawn:
    """Answers of one way, one a seed. Equal seeds draw the same rows, so what two ways give on the same rows is paired."""
    drawn_RS = np.hstack([each.drawn(figure, seed=seed, resamples=resamples) for each in answers])
    return Drawn(np.array([each.figure(figure) for each in answers]), drawn_RS, answers[0].independent, tuple(answers), figure)


@dataclass(frozen=True)
class Estimate:
    """The mean of a figure over seeds, its interval at 95 %, and its standard error over rows and seeds."""

    value: float
    interval: tuple[float, float]
    error: float


def estimate(drawn: Drawn, *, within: Limits) -> Estimate:
    """Of one way to train. within: the figure's limits."""
    spread, freedom = _spread(drawn)
    place = float(stdtrit(freedom, 0.975))
    return Estimate(drawn.mean, around(drawn.mean, spread, place=place, rows=drawn.rows, within=within), spread**0.5)


def estimates(answers: Sequence[Answered], names: Sequence[str], *, seed: int, resamples: int = 1000) -> dict[str, Estimate]:
    """Means over seeds of figures of single classes by their places in `details`, where the task tells such.

    answers: of one way, one a seed. A figure that one of them does not define is left out.
    """
    tallies = [each.task.tally(each.columns, names) for each in answers]
    held = [tally for tally in tallies if tally]
    if not names or len(held) < len(answers):
        return {}
    drawn = [
        intervals.draws(each.columns, tally, names=names, seed=seed, resamples=resamples, groups=each.groups)
        for each, tally in zip(answers, held, strict=True)
    ]
    whole, found = [tally.whole() for tally in held], {}
    for place, name in enumerate(names):
        if all(name in each for each in whole):
            rows = min(min(tally.go_by.get(name, each.rows), each.independent) for tally, each in zip(held, answers, strict=True))
            of = Drawn(np.array([each[name] for each in whole]), np.stack([drawn_RF[:, place] for drawn_RF in drawn], 1), rows)
            found[name] = estimate(of, within=limits(name))
    return found


def together(parts: Sequence[Drawn]) -> Drawn:
    """The mean of several figures, drawn with as many seeds: those of one test set on the same resamples, others by themselves."""
    mean_S, mean_RS = (np.mean([getattr(each, side) for each in parts], axis=0) for side in ("whole", "resampled"))
    return Drawn(mean_S, mean_RS, min(each.rows for each in parts))


def difference(first: Drawn, second: Drawn) -> Difference:
    """Of two ways that were tried with the same seeds on the same test rows, and drawn with the same seed.

    It covers 94 % and more with five seeds, 92 with three, 88 with two (percentiles of a bootstrap over three seeds: 80 to 88). One seed:
    rows alone.
    """
    apart = Drawn(first.whole - second.whole, first.resampled - second.resampled, first.rows)
    low, high = (found := estimate(apart, within=None)).interval
    if first.rows < FEWEST:
        return Difference(found.value, (low, high), separable=False)
    if (null_W := _swapped(first, second)) is not None:
        p, below = chances(found.value, null_W, apart.whole)
        return Difference(found.value, (low, high), p < LEVEL, p, below, by="swaps")
    far = found.value / found.error if found.error else math.copysign(math.inf, found.value) if found.value else 0.0
    freedom = _spread(apart)[1]
    return Difference(found.value, (low, high), low > 0 or high < 0, 2 * float(stdtr(freedom, -abs(far))), float(stdtr(freedom, far)))


def chances(value: float, null_W: np.ndarray, apart_S: np.ndarray) -> tuple[float, float]:
    """How often so large a difference, and so low a one, would be met where there is none. null_W: those after swaps.

    apart_S: by seed; of several seeds the mean's own spread by Student's distribution is added to every one of the swaps.
    """
    seeds = len(apart_S)
    error = float(apart_S.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else 0.0
    if error <= _ALIKE:
        large, low = np.abs(null_W) >= abs(value) - _ALIKE, null_W <= value + _ALIKE
        return float((1 + large.sum()) / (1 + len(null_W))), float((1 + low.sum()) / (1 + len(null_W)))
    tails = [stdtr(seeds - 1, -(abs(value) - side * null_W) / error).mean() for side in (1, -1)]
    return min(1.0, float(sum(tails))), float(stdtr(seeds - 1, (value - null_W) / error).mean())


def _swapped(first: Drawn, second: Drawn) -> np.ndarray | None:
    """The mean difference over seeds after each of many draws of rows whose answers are swapped [W]; None where it is no matter of swaps.

    That is where the answers are not at hand or not of one form, and where the figure is a mean over rows, of which a bootstrap is right.
    """
    both = [*first.answers, *second.answers]
    if not both or not (first.figure == second.figure and len(first.answers) == len(second.answers)) or not _one_form(both):
        return None
    if all(_mean_over_rows(each, first.figure) for each in both):
        return None
    pairs = zip(first.answers, second.answers, strict=True)
    return np.asarray(np.mean([_after_swaps(one, other, first.figure) for one, other in pairs], axis=0))


def _after_swaps(one: Answered, other: Answered, figure: str) -> np.ndarray:
    """The difference of two models after each of many draws of rows whose answers are swapped, the same draws for all, [W]."""
    rng, place_N = np.random.default_rng(0), np.arange(one.rows) if one.groups is None else np.unique(one.groups, return_inverse=True)[1]
    chosen = ((rng.random(one.independent) < 0.5)[place_N] for _ in range(_SWAPS))
    both = {name: np.concatenate([values, other.columns[name]]) for name, values in one.columns.items()}
    if tally := one.task.tally(both, (figure,)):
        return np.concatenate([_apart(tally, chosen_WN) for chosen_WN in _some(chosen, one.rows)])
    made = ((_with(one, other, chosen_N), _with(other, one, chosen_N)) for chosen_N in chosen)
    return np.array([left.figure(figure) - right.figure(figure) for left, right in made])


def _some(chosen: Iterator[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """As many of them as fit at a time, [W, N]."""
    while part := list(islice(chosen, max(1, _ROOM // rows))):
        yield np.stack(part)


def _apart(tally: Tally, chosen_WN: np.ndarray) -> np.ndarray:
    """Of rows of two models, one's below the other's, the difference once the chosen ones are swapped: sets that hold each row of one."""
    kept_WN = np.hstack([~chosen_WN, chosen_WN]).astype(np.float64)
    left_W, right_W = (np.nan_to_num(tally.of(each))[:, 0] for each in (kept_WN, 1 - kept_WN))
    return np.asarray(left_W - right_W)


def _one_form(answers: Sequence[Answered]) -> bool:
    """Whether rows can go from one into another."""
    forms = [{name: (values.shape, values.dtype.kind) for name, values in each.columns.items()} for each in answers]
    return all(each == forms[0] for each in forms)


def _with(own: Answered, other: Answered, chosen_N: np.ndarray) -> Answered:
    """Answers in which the chosen rows are another's."""
    columns = {}
    for name, values in own.columns.items():
        columns[name] = values.copy()
        columns[name][chosen_N] = other.columns[name][chosen_N]
    return Answered(columns, own.task)


def _mean_over_rows(answers: Answered, figure: str) -> bool:
    """Whether a figure is, in three divisions of the rows, the mean of those of the two parts, as a mean over rows always is."""
    whole, places = answers.figure(figure), np.arange(answers.rows)
    for chosen_N in (places % 2 == 0, places % 3 == 0, places < answers.rows // 3):
        share = float(chosen_N.mean())
        if (
            0 < share < 1
            and abs(share * answers.figure(figure, chosen_N) + (1 - share) * answers.figure(figure, ~chosen_N) - whole) > _ALIKE
        ):
            return False
    return True


def mean_of(values: Sequence[float], variances: Sequence[float], rows: int, *, within: Limits) -> Estimate:
    """The mean over seeds of a figure on the same rows, whose draws are not kept: the variances over rows are taken as wholly shared.

    That is never too small: answers that differ share less.
    """
    mean, found = float(np.mean(values)), _together(float(np.mean(variances)), np.asarray(values), rows)
    place = float(stdtrit(found[1], 0.975))
    return Estimate(mean, around(mean, found[0], place=place, rows=rows, within=within), found[0] ** 0.5)


def _spread(drawn: Drawn) -> tuple[float, float]:
    """Variance of the mean over seeds, and Student's degrees of freedom of what tells it.

    The variance is that of the bootstrap over rows, and of the seeds' own figures the S-th part. Few seeds tell their variance badly, so
    degrees of freedom are Welch and Satterthwaite's.
    """
    return _together(variance(drawn.resampled.mean(1), drawn.rows), drawn.whole, drawn.rows)


def _together(of_rows: float, whole_S: np.ndarray, rows: int) -> tuple[float, float]:
    seeds = len(whole_S)
    of_seeds = float(whole_S.var(ddof=1)) / seeds if seeds > 1 else 0.0
    return of_rows + of_seeds, intervals.freedom((of_rows, max(rows - 1, 1)), (of_seeds, max(seeds - 1, 1)))


def holm(chances: Sequence[float]) -> list[float]:
    """Chances (p-values) of several tests of one family, made larger so that the family errs as often as one test would.

    Holm 1979: the smallest times the number of tests, the next times one fewer, and so on, none below the one before it.
    """
    found, least = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        found[place] = least
    return found
