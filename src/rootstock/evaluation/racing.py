"""Whether a way to train that lies behind is worth more seeds: how likely they would bring it to the first place, and by how much.

What is chosen in the end is the best mean over all seeds on the same rows, so only other seeds can change the choice, and not other rows.
Seeds move a figure about as much in all ways that are compared, so their variance is pooled over them; few seeds tell it badly, so it is
held against what the rows alone tell of it: where two trainings of one way answer differently, a third will do so again. Twice that is
mixed in as if a seed more had shown it (moderated variance: Smyth 2004), as a seed may also move all rows alike, which rows can't tell.
And it is never less than the rows' word: seeds that agree by chance tell nothing.

Expected improvement of the choice: Gupta and Miescke 1996; Frazier, Powell and Dayanik 2008, who call it the knowledge gradient.
Shape letters: R resamples, S seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, stdtr, stdtrit

from rootstock.evaluation import intervals
from rootstock.evaluation.intervals import FEWEST, variance
from rootstock.evaluation.paired import Drawn

PRIOR = 1
"""How many degrees of freedom the rows' word of the seeds' variance counts: as much as two seeds of one way. bench/halving.py tries it."""
WORTH = 0.005
"""Share of what the leader has learned (its figure beside the constant answer's) that other seeds must be worth."""
ALIKE = 2.0
"""What seeds are taken to move a figure by before they show it, beside the rows' word: as much again by moving all rows alike."""
CHANCE = 0.15
"""A chance to come first above which nobody is stopped, however little it is worth."""


@dataclass(frozen=True)
class Spread:
    """Variance of a figure from seed to seed on the same rows, and the degrees of freedom that tell it."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Apart:
    """How a way lies to the leader, more being better. value: the difference of their means; interval: at 95 %, over other rows and seeds.

    below: how often so low a one would be met where there is none. chance: that its mean over all seeds comes to be the highest of both.
    worth: by how much, on average, the highest of both would rise by its other seeds.
    """

    value: float
    interval: tuple[float, float]
    below: float
    chance: float
    worth: float


def spread(ways: Sequence[Drawn]) -> Spread | None:
    """Pooled over ways; None where none was tried with two seeds."""
    several = [each for each in ways if len(each.whole) > 1]
    freedom = sum(len(each.whole) - 1 for each in several)
    if not freedom:
        return None
    seen = sum(float(each.whole.var(ddof=1)) * (len(each.whole) - 1) for each in several) / freedom
    least = sum(_of_rows(each) * (len(each.whole) - 1) for each in several) / freedom
    return Spread(max(least, (freedom * seen + PRIOR * ALIKE * least) / (freedom + PRIOR)), freedom + PRIOR)


def _of_rows(drawn: Drawn) -> float:
    """What a seed moves the figure by where each row's answer changes by itself: half the variance over rows of two seeds' difference."""
    pairs = [(one, other) for one in range(len(drawn.whole)) for other in range(one)]
    return float(np.mean([variance(drawn.resampled[:, one] - drawn.resampled[:, other], drawn.rows) for one, other in pairs])) / 2


def apart(behind: Drawn, leader: Drawn, *, seeds: int, told: Spread | None, sign: float = 1.0) -> Apart:
    """One way beside the leader, each with the seeds that it has, of `seeds` in the end. sign: -1 where less of the figure is better.

    Without a spread seeds are not known to move anything, and nothing is said of what more of them would bring: a chance of 1.
    """
    value = sign * (behind.mean - leader.mean)
    of_rows = variance(behind.resampled.mean(1) - leader.resampled.mean(1), behind.rows)
    counts = [len(each.whole) for each in (behind, leader)]
    of_seeds = told.variance * sum(1 / count for count in counts) if told else 0.0
    freedom = intervals.freedom((of_rows, max(behind.rows - 1, 1)), (of_seeds, told.freedom if told else 1))
    error = math.sqrt(of_rows + of_seeds)
    half = error * float(stdtrit(freedom, 0.975))
    far = value / error if error else math.copysign(math.inf, value) if value else 0.0
    below = float(stdtr(freedom, far)) if behind.rows >= FEWEST else 1.0
    chance, worth = _ahead(value, sum((seeds - count) / (count * seeds) for count in counts), told)
    return Apart(value, (value - half, value + half), below, chance, worth)


def _ahead(value: float, open_share: float, told: Spread | None) -> tuple[float, float]:
    """The chance that a difference comes out above zero, and its mean where it counts as zero below: both by Student's distribution.

    open_share: how many variances of a seed the difference may still move by.
    """
    if told is None:
        return 1.0, math.inf
    scale = math.sqrt(told.variance * open_share)
    if not scale:
        return float(value > 0), max(value, 0.0)
    place, freedom = -value / scale, told.freedom
    beyond = float(stdtr(freedom, -place))
    density = math.exp(gammaln((freedom + 1) / 2) - gammaln(freedom / 2)) / math.sqrt(freedom * math.pi)
    density *= (1 + place**2 / freedom) ** (-(freedom + 1) / 2)
    return beyond, scale * (density * (freedom + place**2) / (freedom - 1) - place * beyond)


def following(held: Mapping[str, Drawn], *, seeds: int, sign: float = 1.0) -> list[str]:
    """Ways that lack seeds, in the order in which they get their next: the leader first, as the others are measured by it."""
    ranked = sorted(held, key=lambda name: -sign * held[name].mean)
    return [name for name in ranked if len(held[name].whole) < seeds]
