"""LogME: how likely a linear model with a Gaussian prior finds the labels, given frozen vectors; the prior is integrated out, not fitted.

You et al. 2021 (arXiv:2102.11005); solved by the fixed point of You et al. 2022 (arXiv:2110.10545), on one decomposition for all targets.
Shape letters: N rows, H width, C targets (a class each, or one number), K directions, the fewer of N and H.
"""

from dataclasses import dataclass

import numpy as np

_ROUNDS = 500
_TOLERANCE = 1e-9
_ENDS = 1e-12, 1e12
"""Of the ratio of noise to prior, in units of the mean squared spread of a direction: beyond, the evidence no longer moves."""


@dataclass(frozen=True)
class Spectrum:
    """Vectors in the directions in which they spread: squared spreads [K], targets along them [K, C], and the rest [C]."""

    squares: np.ndarray
    along: np.ndarray
    rest: np.ndarray
    rows: int


def spectrum(vectors_NH: np.ndarray, targets_NC: np.ndarray) -> Spectrum:
    """By the eigenvectors of the smaller product of the vectors with themselves: quicker than a singular value decomposition."""
    vectors_NH, targets_NC = np.asarray(vectors_NH, np.float64), np.asarray(targets_NC, np.float64)
    rows, width = vectors_NH.shape
    tall = rows >= width
    squares_K, axes = np.linalg.eigh(vectors_NH.T @ vectors_NH if tall else vectors_NH @ vectors_NH.T)
    real = squares_K > squares_K[-1] * max(rows, width) * np.finfo(np.float64).eps  # the others are rounding
    squares_K, axes = squares_K[real], axes[:, real]
    along_KC = (axes.T @ (vectors_NH.T @ targets_NC)) / np.sqrt(squares_K)[:, None] if tall else axes.T @ targets_NC
    rest_C = np.maximum((targets_NC**2).sum(0) - (along_KC**2).sum(0), 0.0)
    return Spectrum(squares_K, along_KC, rest_C, rows)


def evidence(held: Spectrum, ratio_C: np.ndarray) -> np.ndarray:
    """Logarithm of the evidence a row, [C], where the noise's variance is `ratio` times the prior's, and the prior's is the likeliest."""
    spread_KC, left = held.squares[:, None] + ratio_C, held.rows - len(held.squares)
    prior_C = ((held.along**2 / spread_KC).sum(0) + held.rest / ratio_C) / held.rows
    return np.asarray(-0.5 * (np.log(2 * np.pi) + 1 + np.log(prior_C) + (np.log(spread_KC).sum(0) + left * np.log(ratio_C)) / held.rows))


def likeliest(held: Spectrum) -> np.ndarray:
    """The ratio of noise to prior at which the evidence is greatest, [C]: MacKay's fixed point, from 1 on as published."""
    low, high = (end * max(float(held.squares.mean()), np.finfo(float).tiny) for end in _ENDS)
    squares_K1, ratio_C = held.squares[:, None], np.ones(held.along.shape[1])
    for _ in range(_ROUNDS):
        learned_C = (squares_K1 / (squares_K1 + ratio_C)).sum(0)
        weights_C = (squares_K1 * held.along**2 / (squares_K1 + ratio_C) ** 2).sum(0)
        error_C = (held.along**2 * (ratio_C / (squares_K1 + ratio_C)) ** 2).sum(0) + held.rest
        with np.errstate(divide="ignore", invalid="ignore"):
            found_C = learned_C * error_C / (weights_C * (held.rows - learned_C))
        found_C = np.clip(np.where(np.isnan(found_C), high, found_C), low, high)
        done = bool((np.abs(found_C - ratio_C) <= _TOLERANCE * ratio_C).all())
        ratio_C = found_C
        if done:
            break
    return ratio_C


def by_target(vectors_NH: np.ndarray, targets_NC: np.ndarray) -> np.ndarray:
    """The greatest log evidence a row of each target, [C]; of one that is zero everywhere NaN."""
    there_C = np.asarray(np.asarray(targets_NC, bool).any(axis=0))
    found_C = np.full(there_C.shape, np.nan)
    if np.asarray(vectors_NH, bool).any() and there_C.any():
        held = spectrum(vectors_NH, targets_NC[:, there_C])
        found_C[there_C] = evidence(held, likeliest(held))
    return found_C


def logme(vectors_NH: np.ndarray, targets_NC: np.ndarray) -> float:
    """The mean over targets: classes as one column each of 0 and 1, or a column of numbers. Only differences on equal rows count."""
    found_C = by_target(vectors_NH, targets_NC)
    return float(np.nanmean(found_C)) if np.isfinite(found_C).any() else float("nan")
