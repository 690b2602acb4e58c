"""Figures of each class, kind or label, and of how sure answers are: what per-class tables, calibration and their intervals are made of.

Shape letters: N rows, R sets of rows, C classes, K bins of confidence.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rootstock.core.tally import ratio

BINS = 15
"""Equal-width bins of confidence in the calibration error: the usual number, so figures compare with published ones."""
_SURE = 1.959963984540054
"""Errors to either side within which 95 % of what is normal lies."""
PER_CLASS, CALIBRATION, FIGURES = "per_class", "calibration", ("precision", "recall", "f1")
Held = TypeVar("Held")
Figures = dict[str, Callable[[Held], np.ndarray]]


class PerClass(NamedTuple):
    """A figure for each class, [.., C]; 0 where it would divide by zero. present: the class was answered or predicted at least once."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    present: np.ndarray


@dataclass(frozen=True, eq=False)
class Counts:
    """How many things of each class were found, predicted and answered, [.., C] each: of all rows, or of many sets of them."""

    hits: np.ndarray
    predicted: np.ndarray
    support: np.ndarray

    @cached_property
    def table(self) -> PerClass:
        """Precision, recall, F1 and support of each class."""
        precision, recall, f1 = (np.nan_to_num(self.each[name]) for name in FIGURES)
        return PerClass(precision, recall, f1, self.support, self.predicted + self.support > 0)

    def macro(self, figure: np.ndarray) -> np.ndarray:
        """The mean over the classes that are present (the others' figure is 0); NaN where none is."""
        return ratio(figure.sum(-1), self.table.present.sum(-1))

    def micro(self) -> np.ndarray:
        """F1 of all things together."""
        return ratio(2 * self.hits.sum(-1), (self.predicted + self.support).sum(-1))

    @cached_property
    def each(self) -> dict[str, np.ndarray]:
        """The figures of each class, [.., C]; NaN where it has none, as precision of a class that was not predicted."""
        either = self.predicted + self.support
        return {"precision": ratio(self.hits, self.predicted), "recall": ratio(self.hits, self.support), "f1": ratio(2 * self.hits, either)}


def table_json(table: PerClass, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The table as a report draws it."""
    columns = zip(labels, table.precision, table.recall, table.f1, table.support, strict=True)
    return [
        {"label": label, "precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
        for label, precision, recall, f1, support in columns
    ]


def class_figures(count: int, counts: Callable[[Held], Counts]) -> Figures[Held]:
    """Figures of each class by their places in `details`, as per_class/0/f1."""

    def one(place: int, name: str) -> Callable[[Held], np.ndarray]:
        return lambda held: counts(held).each[name][..., place]

    return {f"{PER_CLASS}/{place}/{name}": one(place, name) for place in range(count) for name in FIGURES}


def class_rows(whole: Counts) -> dict[str, int]:
    """How many things each of these figures goes by."""
    sides = {"precision": whole.predicted, "recall": whole.support, "f1": whole.predicted + whole.support - whole.hits}
    return {f"{PER_CLASS}/{place}/{name}": int(rows) for name, rows_C in sides.items() for place, rows in enumerate(rows_C)}


class Calibration(NamedTuple):
    """Sums over the answers whose confidence falls in each bin, [.., K]."""

    confidence: np.ndarray
    correct: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Sure:
    """What each row, of one answer or several, adds to a Calibration, [N, K] each."""

    confidence: np.ndarray
    correct: np.ndarray
    rows: np.ndarray

    @cached_property
    def apart(self) -> np.ndarray:
        """By how much confidence is above what is right, [N, K]."""
        return np.asarray(self.confidence - self.correct)

    def error(self, counts_RN: np.ndarray) -> np.ndarray:
        """Expected calibration error of sets of rows: mean distance of confidence and accuracy, bins weighted by their answers."""
        return ratio(np.abs(counts_RN @ self.apart).sum(-1), counts_RN @ self.rows.sum(1))

    def above(self) -> float:
        """By how much the error of these rows may lie above the truth: chance alone parts confidence from accuracy in every bin.

        Of a bin whose distance is d with the error s it is the mean of |d + error| less d (Leone et al. 1961), with d as small as the rows
        allow. Without it no interval of a well calibrated model would hold its error, which is nought.
        """
        rows_K = self.rows.sum(0)
        distance_K, squares_K = (np.nan_to_num(ratio(sums, rows_K)) for sums in (self.apart.sum(0), (self.apart**2).sum(0)))
        error_K = np.sqrt(np.maximum(squares_K - distance_K**2, 0.0) / np.maximum(rows_K - 1, 1))
        least_K = np.maximum(np.abs(distance_K) - _SURE * error_K, 0.0)
        scaled_K = np.divide(least_K, error_K, out=np.zeros(len(rows_K)), where=error_K > 0)
        inside_K = np.array([math.erf(each / math.sqrt(2)) for each in scaled_K])
        folded_K = error_K * math.sqrt(2 / math.pi) * np.exp(-(scaled_K**2) / 2) + least_K * inside_K
        return float(((folded_K - least_K) * rows_K).sum() / max(rows_K.sum(), 1.0))

    def drawn(self, counts_RN: np.ndarray) -> Calibration:
        """That of sets of rows."""
        return Calibration(counts_RN @ self.confidence, counts_RN @ self.correct, counts_RN @ self.rows)

    def whole(self) -> Calibration:
        """That of all rows."""
        return Calibration(self.confidence.sum(0), self.correct.sum(0), self.rows.sum(0))


def sure(confidence_NA: np.ndarray, correct_NA: np.ndarray) -> Sure:
    """Confidence of each answer of each row, and whether it is right, in bins that are open on the left."""
    rows, answers = confidence_NA.shape
    confidence = np.asarray(confidence_NA, np.float64)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    place = (np.arange(rows)[:, None] * BINS + bins).reshape(-1)

    def summed(values_NA: np.ndarray) -> np.ndarray:
        return np.bincount(place, values_NA.reshape(-1), rows * BINS).reshape(rows, BINS)

    return Sure(summed(confidence), summed(np.asarray(correct_NA, np.float64)), summed(np.ones((rows, answers))))


def calibration_json(bins: Calibration) -> list[dict[str, Any]]:
    """Bins that hold answers, as a report draws them."""
    return [
        {"confidence": float(confidence / rows), "accuracy": float(correct / rows), "count": int(rows)}
        for confidence, correct, rows in zip(bins.confidence, bins.correct, bins.rows, strict=True)
        if rows
    ]


def bin_figures(held_bins: Sequence[int], bins: Callable[[Held], Calibration]) -> Figures[Held]:
    """Confidence and accuracy of the bins that hold answers by their places in `details`, as calibration/0/accuracy."""

    def one(number: int, side: str) -> Callable[[Held], np.ndarray]:
        return lambda held: ratio(getattr(bins(held), side)[..., number], bins(held).rows[..., number])

    sides = (("confidence", "confidence"), ("accuracy", "correct"))
    return {f"{CALIBRATION}/{place}/{name}": one(number, side) for place, number in enumerate(held_bins) for name, side in sides}


def bin_rows(known: Sure) -> dict[str, int]:
    """How many rows each of these figures goes by."""
    rows_K = (known.rows > 0).sum(0)
    return {f"{CALIBRATION}/{place}/{name}": int(rows_K[number]) for place, number in _held(known) for name in ("confidence", "accuracy")}


def held(known: Sure) -> list[int]:
    """The bins that hold answers."""
    return [number for _, number in _held(known)]


def _held(known: Sure) -> Iterator[tuple[int, int]]:
    return enumerate(np.flatnonzero(known.rows.sum(0)).tolist())
