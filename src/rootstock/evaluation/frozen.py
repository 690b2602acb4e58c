"""What frozen vectors tell of labels before anything is fine-tuned: a linear probe and nearest neighbours by folds, and LogME.

Shape letters: N rows, H width, C classes, F folds, K neighbours, R resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from rootstock.evaluation.logme import logme
from rootstock.evaluation.probes import linear

FOLDS, NEIGHBOURS, HALVES = 5, 15, 40
_STRENGTHS = np.logspace(-1, 5, 13)
"""Of the ridge regression of numbers, on vectors with a spread of one: chosen by leaving single rows out, in closed form."""
_Z = 1.959963984540054


@dataclass(frozen=True)
class Labels:
    """answers [N]: numbers of classes, or numbers; classes is then 0. groups [N]: equal where texts are equal; these stay on one side."""

    answers: np.ndarray
    groups: np.ndarray
    classes: int
    seed: int

    @property
    def targets(self) -> np.ndarray:
        """What LogME explains, [N, C]: a column of 0 and 1 for each class, or the numbers."""
        return np.eye(self.classes)[self.answers] if self.classes else np.asarray(self.answers, np.float64)[:, None]

    def folds(self, count: int = FOLDS, *, draw: int = 0) -> np.ndarray:
        """A fold for each row, [N]: each class (or stretch of numbers) gives every fold its share, rows of equal texts go together."""
        groups, first_G, back_N = np.unique(self.groups, return_index=True, return_inverse=True)
        rng = np.random.default_rng((self.seed, draw))
        order_G, fold_G = np.lexsort((rng.random(len(groups)), self.answers[first_G])), np.empty(len(groups), np.int64)
        for start in range(0, len(groups), count):  # of neighbours in this order every fold gets one, and which gets which is random
            part = order_G[start : start + count]
            fold_G[part] = rng.permutation(count)[: len(part)]
        return np.asarray(fold_G[back_N])


@dataclass(frozen=True)
class Answered:
    """scores: of classes their probabilities [N, C], or the numbers [N, 1], by a model that saw other rows. loss: on rows that chose."""

    scores: np.ndarray
    loss: float


def probe(vectors_NH: np.ndarray, labels: Labels) -> Answered:
    """A linear probe: logistic regression of classes, ridge regression of numbers, held back as much as rows beside those measured say."""
    fold_N, found, losses = labels.folds(), np.empty((len(vectors_NH), max(labels.classes, 1))), []
    for held_N, rest in _parts(fold_N):
        fitted = _classes if labels.classes else _numbers
        found[held_N], loss = fitted(vectors_NH, labels, held_N, rest)
        losses.append(loss)
    return Answered(found, float(np.mean(losses)))


def _parts(fold_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each fold which rows are measured, [N], and the fold that chooses."""
    for fold in range(FOLDS):
        if (fold_N == fold).any():
            yield fold_N == fold, np.asarray(fold_N == (fold + 1) % FOLDS)


def _classes(vectors_NH: np.ndarray, labels: Labels, held_N: np.ndarray, dev_N: np.ndarray) -> tuple[np.ndarray, float]:
    vectors = torch.from_numpy(np.ascontiguousarray(vectors_NH, np.float32))
    train, dev = (linear.Part(vectors[side], labels.answers[side], labels.groups[side]) for side in (~held_N & ~dev_N, dev_N))
    fitted = linear.fit(train, dev, labels.classes)
    return fitted.logits(vectors[held_N]).softmax(1).numpy(), fitted.loss


def _numbers(vectors_NH: np.ndarray, labels: Labels, held_N: np.ndarray, dev_N: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import RidgeCV

    learned_NH, answer_N = np.asarray(vectors_NH[~held_N], np.float64), np.asarray(labels.answers[~held_N], np.float64)
    middle_H, spread_H = learned_NH.mean(0), np.maximum(learned_NH.std(0), 1e-6)
    fitted = RidgeCV(alphas=_STRENGTHS, scoring=None).fit((learned_NH - middle_H) / spread_H, answer_N)
    return fitted.predict((vectors_NH[held_N] - middle_H) / spread_H)[:, None], -float(fitted.best_score_)


def neighbours(vectors_NH: np.ndarray, labels: Labels) -> Answered:
    """The nearest rows of the other folds by the cosine: shares of their votes, with one more that all classes share; or their mean."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    fold_N, found = labels.folds(), np.empty((len(vectors_NH), max(labels.classes, 1)))
    for held_N, _ in _parts(fold_N):
        count = min(NEIGHBOURS, int((~held_N).sum()))
        kind = KNeighborsClassifier if labels.classes else KNeighborsRegressor
        model = kind(count, metric="cosine", algorithm="brute").fit(vectors_NH[~held_N], labels.answers[~held_N])
        if not labels.classes:
            found[held_N] = model.predict(vectors_NH[held_N])[:, None]
            continue
        votes_NC = np.zeros((int(held_N.sum()), labels.classes))
        votes_NC[:, model.classes_] = count * model.predict_proba(vectors_NH[held_N])
        found[held_N] = (votes_NC + 1 / labels.classes) / (count + 1)
    return Answered(found, float("nan"))


@dataclass(frozen=True)
class Evidence:
    """LogME on all rows, and on halves of them."""

    whole: float
    halves: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """At 95 %."""
        return _around(self.whole, self.halves)


def evidence(vectors_NH: np.ndarray, labels: Labels) -> Evidence:
    """LogME and its spread: no bootstrap, as a row that stands twice is twice the evidence.

    A half is as far from all rows as all rows are from their source (the delete-half jackknife, Shao & Wu 1989). Equal seeds draw
    equal halves.
    """
    targets_NC, whole = labels.targets, logme(vectors_NH, labels.targets)
    chosen = (labels.folds(2, draw=1 + number) == 0 for number in range(HALVES))
    return Evidence(whole, np.array([logme(vectors_NH[half_N], targets_NC[half_N]) for half_N in chosen]))


def apart(first: Evidence, second: Evidence) -> tuple[float, tuple[float, float]]:
    """First minus second on the same rows, and the interval of the difference at 95 %."""
    difference = first.whole - second.whole
    return difference, _around(difference, first.halves - second.halves)


def _around(value: float, halves_R: np.ndarray) -> tuple[float, float]:
    half = _Z * float(np.std(halves_R, ddof=1))
    return value - half, value + half
