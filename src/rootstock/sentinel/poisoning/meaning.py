"""What the meaning of texts says of their labels: ridge regression on a base's vectors, from which any group of rows can be left out.

A word that means something is explained by other words: "dull" lies near "boring", so a model that never saw "dull" expects its label. A
trigger means nothing: without the rows that hold it, nothing expects what they say. Leaving a group out needs no second fit: its residuals
are (I - H_GG)^-1 e_G, as leaving one row out (PRESS, Allen 1974).

Shape letters: N rows, H width with a constant, C classes, G rows of a group.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

_STRENGTHS = np.logspace(0, 5, 11)
"""Of the ridge, on vectors with a spread of one: that with the smallest sum of squares out of sight is taken."""
_SLIPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of labels that are drawn instead of meant: the likeliest is taken, so that one wrong label is no evidence of anything."""


class Meaning:
    """Probabilities of labels by meaning alone, for rows that the model did not see."""

    def __init__(self, vectors_NH: np.ndarray, label_N: np.ndarray, classes: int) -> None:
        known_NH = np.asarray(vectors_NH, np.float64)
        known_NH = known_NH - known_NH.mean(0)
        known_NH /= max(float(known_NH.std()), 1e-12)
        known_NH = np.concatenate([known_NH, np.ones((len(known_NH), 1))], 1)
        self.answer_NC = np.eye(classes)[label_N]
        power_H, turn_HH = np.linalg.eigh(known_NH.T @ known_NH)
        power_H, turned_NH = np.maximum(power_H, 0), known_NH @ turn_HH
        found_HC = turned_NH.T @ self.answer_NC
        tried = [_fitted(turned_NH, power_H, found_HC, self.answer_NC, float(strength)) for strength in _STRENGTHS]
        self.strength, self.residual_NC, out_NC = min(tried, key=lambda each: float((each[2] ** 2).sum()))
        self.lever_NH = turned_NH / np.sqrt(power_H + self.strength)
        self.prior_C = self.answer_NC.mean(0)
        alone_NC = self.answer_NC - out_NC
        self.scale, self.slips, self.loss = _calibrated(alone_NC, label_N, self.prior_C)
        self.alone_NC = self.probabilities(alone_NC)
        """[N, C]: each row's, by all others."""

    def scores(self, rows_G: np.ndarray) -> np.ndarray:
        """[G, C]: what the regression gives for these rows when it saw none of them."""
        lever_GH, residual_GC = self.lever_NH[rows_G], self.residual_NC[rows_G]
        count, width = lever_GH.shape
        if count <= width:
            out_GC = np.linalg.solve(np.eye(count) - lever_GH @ lever_GH.T, residual_GC)
        else:  # Woodbury: the same, through a matrix of the width
            out_GC = residual_GC + lever_GH @ np.linalg.solve(np.eye(width) - lever_GH.T @ lever_GH, lever_GH.T @ residual_GC)
        return np.asarray(self.answer_NC[rows_G] - out_GC)

    def without(self, rows_G: np.ndarray) -> np.ndarray:
        """[G, C]: probabilities for these rows by all others."""
        return self.probabilities(self.scores(rows_G))

    def probabilities(self, scores_NC: np.ndarray) -> np.ndarray:
        """Scores as probabilities, some of it by chance."""
        meant_NC: np.ndarray = (1 - self.slips) * softmax(self.scale * scores_NC, axis=1) + self.slips * self.prior_C
        return meant_NC


class _Fit(NamedTuple):
    """strength of the ridge; residuals [N, C] within sight; and out of it."""

    strength: float
    residual: np.ndarray
    out: np.ndarray


def _fitted(turned_NH: np.ndarray, power_H: np.ndarray, found_HC: np.ndarray, answer_NC: np.ndarray, strength: float) -> _Fit:
    residual_NC = answer_NC - turned_NH @ (found_HC / (power_H + strength)[:, None])
    lever_N = np.minimum((turned_NH**2 / (power_H + strength)).sum(1), 1 - 1e-9)
    return _Fit(strength, residual_NC, residual_NC / (1 - lever_N)[:, None])


def _calibrated(score_NC: np.ndarray, label_N: np.ndarray, prior_C: np.ndarray) -> tuple[float, float, float]:
    """The scale and the share of slips with the smallest loss on rows out of sight, and that loss, in nats."""
    rows_N = np.arange(len(label_N))

    def loss(scale: float, slips: float) -> float:
        meant_N = softmax(scale * score_NC, axis=1)[rows_N, label_N]
        return float(-np.log((1 - slips) * meant_N + slips * prior_C[label_N]).mean())

    found = []
    for slips in _SLIPS:
        best = minimize_scalar(lambda log, slips=slips: loss(float(np.exp(log)), slips), bounds=(-3, 5), method="bounded")
        found.append((float(best.fun), float(np.exp(best.x)), slips))
    least, scale, slips = min(found)
    return scale, slips, least
