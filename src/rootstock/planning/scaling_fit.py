"""The scaling law of a set of runs: Huber loss on log L, L-BFGS from a grid of starts, bootstrap draws.

Hoffmann et al. 2022, arXiv:2203.15556, approach 3; checked against the replication of Besiroglu et al. 2024, arXiv:2404.10102.

Shape letters: P points, S starts, R resamples, 5 the law's figures (see `scaling`).
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from rootstock.core.errors import DataError
from rootstock.planning.scaling import Fit, expected

DELTA = 1e-3
"""Where the Huber loss turns from squares to absolute values, in log loss; the value of both papers."""
FEWEST, DISTINCT = 6, 3
"""Five figures need more than five points. With two sizes E and A / N^alpha can't be told apart, whatever the number of points; nor with
two numbers of tokens E and B / D^beta."""
RESAMPLES = 500
_EXPONENTS = (0.1, 0.2, 0.35, 0.6, 1.0)
"""Starts are all pairs of these for alpha and beta; A, B and E then follow from linear least squares."""
_ALSO = 8, 17
"""The starts (0.2, 0.6) and (0.6, 0.35), from which each resample is tried beside the best law."""
_FLATTEST, _STEEPEST = 0.01, 3.0
_VANISHED, _LARGEST = -12.0, 8.0
"""Bounds of the logarithm of a term at the middle of the points, beside the median log loss; at the lower one the term counts as zero."""
_TOGETHER, _ONE = 0.98, 0.999
"""Correlation of log sizes and log tokens from which a word is due, and from which one law is as good as another: where tokens are always
20 times the size, any part of one term can go into the other."""
_MANY = 20


@dataclass(frozen=True)
class Points:
    """Runs that ended: parameters, tokens seen, loss in nats a token; each of shape [P] and positive."""

    parameters: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def flops(self) -> np.ndarray:
        """6 N D."""
        flops_P: np.ndarray = 6 * self.parameters * self.tokens
        return flops_P


def fit(points: Points, *, resamples: int = RESAMPLES, seed: int = 0) -> Fit:
    """The law of lowest `objective`, and the laws of `resamples` bootstrap samples of the points.

    Each start is a pair of exponents with its least-squares A, B and E; a resample starts from the best law and from two of the others.
    Raises DataError where the points can't tell the five figures apart.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    check(points)
    problem = _Problem(points)
    starts_S5 = problem.starts()
    # L-BFGS's tiny products wake the BLAS threads, which then spin: beside a busy neighbour a descent took 270 ms, with one thread 4 ms
    with threadpool_limits(1, user_api="blas"):
        ends = [problem.descend(start_5, np.ones(len(points))) for start_5 in starts_S5]
        lowest, theta_5 = min(ends, key=lambda end: end[0])
        tried = [theta_5, *starts_S5[list(_ALSO)]]
        draws_R5 = np.array([problem.lowest(tried, weight_P) for weight_P in _weights(len(points), resamples, seed)])
    law_5 = problem.law(theta_5)
    return Fit(
        law_5=law_5,
        draws=problem.law(draws_R5.reshape(-1, 5)),
        objective=objective(law_5, points),
        points=len(points),
        starts=len(ends),
        agreeing=sum(value <= lowest * 1.001 + 1e-6 for value, _ in ends),
        flops=(float(points.flops.min()), float(points.flops.max())),
        parameters=(float(points.parameters.min()), float(points.parameters.max())),
        notes=(*_cautions(points), *problem.limits(theta_5)),
    )


def objective(law_5: np.ndarray, points: Points) -> float:
    """Summed Huber loss (DELTA) of log L: the figure that the papers report."""
    apart_P = np.abs(np.log(expected(law_5, points.parameters, points.tokens)) - np.log(points.loss))
    return float(np.where(apart_P <= DELTA, apart_P**2 / 2, DELTA * (apart_P - DELTA / 2)).sum())


def check(points: Points) -> None:
    """Raises DataError where the points are too few or too alike for five figures."""
    if len(points) < FEWEST:
        raise DataError(f"found {len(points)} usable runs", wanted=f"{FEWEST} or more: the law has five figures", fix="add runs")
    for one, name, values_P in (("size", "sizes", points.parameters), ("number of tokens", "numbers of tokens", points.tokens)):
        different = len(np.unique(np.round(np.log(values_P), 2)))  # about 1 % apart
        if different < DISTINCT:
            raise DataError(
                f"the {len(points)} runs differ too little: {different} {name if different > 1 else one}",
                wanted=f"{DISTINCT} or more: with fewer, what they are worth can't be told from the floor E",
                fix=f"add runs with other {name}",
            )
    if abs(_together(points)) > _ONE:
        raise DataError(
            f"sizes and tokens move as one in the {len(points)} runs (correlation of their logarithms {_together(points):.4f})",
            wanted="sizes trained on different numbers of tokens: otherwise nothing says what is due to which",
            fix="add runs of the same sizes with other numbers of tokens",
        )


def _together(points: Points) -> float:
    return float(np.corrcoef(np.log(points.parameters), np.log(points.tokens))[0, 1])


def _weights(points: int, resamples: int, seed: int) -> list[np.ndarray]:
    """How often each point is in each bootstrap sample."""
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(0, points, points) for _ in range(resamples))
    return [np.bincount(chosen_P, minlength=points).astype(float) for chosen_P in drawn]


def _cautions(points: Points) -> list[str]:
    """What these points can't tell well, whatever the fit."""
    found = []
    if abs(_together(points)) > _TOGETHER:
        said = f"sizes and tokens move together in these runs (correlation of their logarithms {_together(points):.3f})"
        found.append(f"{said}: what is due to which can hardly be told")
    if len(points) < _MANY:
        found.append(f"{len(points)} points are few for five figures: the intervals are rough")
    return found


class _Problem:
    """The objective over theta = (ln A', ln B', ln E, alpha, beta), divided by DELTA squared so that the optimizer's tolerances suit it.

    ln A' = ln A - alpha * mean ln N, and B' likewise: uncentred, A and alpha move along one narrow valley and L-BFGS stops early in it.
    """

    def __init__(self, points: Points) -> None:
        sizes_P, tokens_P, self.target_P = np.log(points.parameters), np.log(points.tokens), np.log(points.loss)
        self.middle_2 = np.array([sizes_P.mean(), tokens_P.mean()])
        self.sizes_P, self.tokens_P = sizes_P - self.middle_2[0], tokens_P - self.middle_2[1]
        usual = float(np.median(self.target_P))
        self.bounds = [(usual + _VANISHED, usual + _LARGEST)] * 3 + [(_FLATTEST, _STEEPEST)] * 2

    def law(self, theta_5: np.ndarray) -> np.ndarray:
        """A, B, E, alpha, beta; leading axes stay."""
        terms, exponents = theta_5[..., :3], theta_5[..., 3:]
        shifts = np.concatenate([exponents * self.middle_2, np.zeros_like(exponents[..., :1])], axis=-1)
        return np.concatenate([np.exp(terms + shifts), exponents], axis=-1)

    def starts(self) -> np.ndarray:
        """A theta for each pair of exponents, [S, 5]."""
        from scipy.optimize import nnls

        relative_P, found = np.exp(-self.target_P), []
        least = np.exp(self.bounds[0][0] + 6)  # a term that least squares leaves out must still be able to come back
        for alpha, beta in product(_EXPONENTS, _EXPONENTS):
            terms_3P = np.stack([np.exp(-alpha * self.sizes_P), np.exp(-beta * self.tokens_P), np.ones_like(relative_P)]) * relative_P
            weights_3, _ = nnls(terms_3P.T, np.ones_like(relative_P))
            found.append([*np.log(np.maximum(weights_3, least)), alpha, beta])
        return np.array(found)

    def lowest(self, starts: list[np.ndarray], weight_P: np.ndarray) -> np.ndarray:
        """The best theta that any of the starts reaches."""
        return min((self.descend(start_5, weight_P) for start_5 in starts), key=lambda end: end[0])[1]

    def descend(self, start_5: np.ndarray, weight_P: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and the theta at which L-BFGS-B ends."""
        from scipy.optimize import minimize

        options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-11, "gtol": 1e-6, "maxcor": 20}
        end = minimize(self.value, start_5, args=(weight_P,), jac=True, method="L-BFGS-B", bounds=self.bounds, options=options)
        return float(end.fun), np.asarray(end.x)

    def value(self, theta_5: np.ndarray, weight_P: np.ndarray) -> tuple[float, np.ndarray]:
        """Weighted sum of Huber losses over the points, and its gradient [5].

        The bounds keep each term of the logsumexp far from overflow, so it goes without the usual shift: half the time of a fit is here.
        """
        a, b, e, alpha, beta = theta_5.tolist()
        first_P, second_P, floor = np.exp(a - alpha * self.sizes_P), np.exp(b - beta * self.tokens_P), math.exp(e)
        total_P = first_P + second_P + floor
        apart_P = (np.log(total_P) - self.target_P) / DELTA
        inside_P = np.minimum(np.maximum(apart_P, -1), 1)
        pull_P = weight_P * inside_P
        huber = pull_P @ (apart_P - inside_P / 2)  # squares inside, absolute values outside, in one expression
        pull_P /= total_P * DELTA
        first_P *= pull_P
        second_P *= pull_P
        slopes = [first_P.sum(), second_P.sum(), floor * pull_P.sum(), -(first_P @ self.sizes_P), -(second_P @ self.tokens_P)]
        return float(huber), np.array(slopes)

    def limits(self, theta_5: np.ndarray) -> list[str]:
        """Terms that vanished and exponents that stopped at a bound, as notes."""
        found, gone = [], theta_5[:3] < self.bounds[0][0] + 1
        for name, what, lost in zip(
            "ABE", ("size makes no difference", "tokens make no difference", "there is no floor"), gone, strict=True
        ):
            if lost:
                found.append(f"{name} went to zero: in these runs {what}")
        for name, at, lost in zip(("alpha", "beta"), theta_5[3:], gone, strict=False):
            if not lost and not _FLATTEST * 1.01 < at < _STEEPEST * 0.999:
                found.append(f"{name} stopped at the end of its range, {at:.2g}: the law does not describe these runs")
        return found
