"""Figures that tasks share, in numpy alone: the numbers of scikit-learn and scipy without the time to import them.

Shape letters: N rows, C classes or labels, K bins. Scores are probabilities, or the numbers themselves for regression.
A figure that the rows do not define (a correlation with a constant, ROC-AUC of one class) is left out: nothing here returns NaN in a dict.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rootstock.core.tally import Tally

BINS = 15
"""Equal-width bins of confidence in the calibration error: the usual number, so figures compare with published ones."""
THRESHOLD = 0.5
"""A label is answered where its probability is at least this."""
SCATTER = 500
"""Points kept for a chart: enough to show the shape, few enough to stay small in a report."""

Rows = TypeVar("Rows")


def class_metrics(scores_NC: np.ndarray, answers_N: np.ndarray, names: Collection[str] | None = None) -> dict[str, float]:
    """Figures of one class a row: all, or only `names` (what a bootstrap needs is a tenth of the work).

    f1, the second of two classes against the first, is given only where it is named.
    """
    if not len(answers_N):
        return {}
    asked = [name for name in (*_COUNTED, *_CLASS_FIGURES) if name not in _ASKED_FOR] if names is None else names
    rows = _ClassRows(scores_NC, answers_N)
    found = {name: float(_COUNTED[name](rows.counts)) if name in _COUNTED else _CLASS_FIGURES[name](rows) for name in asked}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def class_tally(scores_NC: np.ndarray, answers_N: np.ndarray, names: Collection[str]) -> Tally | None:
    """The same figures of many sets of these rows by counting alone; None where one of them goes by more than the confusion matrix."""
    if not _COUNTED.keys() >= set(names):
        return None
    classes = scores_NC.shape[1]

    def figures(counts_RK: np.ndarray) -> np.ndarray:
        counts = _Counts(counts_RK.reshape(-1, classes, classes))
        return np.stack([_COUNTED[name](counts) for name in names], axis=1)

    return Tally(_cells(answers_N, scores_NC.argmax(axis=1), classes), classes * classes, figures)


def label_set_metrics(scores_NC: np.ndarray, answers_NC: np.ndarray, names: Collection[str] | None = None) -> dict[str, float]:
    """Figures of any number of labels a row; answers are 0/1."""
    return _figures(_LabelSetRows(scores_NC, answers_NC), _LABEL_SET_FIGURES, names) if len(answers_NC) else {}


def number_metrics(scores_N1: np.ndarray, answers_N: np.ndarray, names: Collection[str] | None = None) -> dict[str, float]:
    """Figures of one number a row; scores are [N, 1] or [N]."""
    rows = _NumberRows(np.asarray(scores_N1, np.float64).reshape(-1), np.asarray(answers_N, np.float64))
    return _figures(rows, _NUMBER_FIGURES, names) if len(answers_N) else {}


def class_details(scores_NC: np.ndarray, answers_N: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Per-class table, confusion matrix (a row of it is one true class) and calibration, as JSON."""
    rows = _ClassRows(scores_NC, answers_N)
    return {
        "per_class": _table_json(rows.counts.table, labels),
        "confusion": rows.counts.confusion.tolist(),
        "calibration": _calibration_json(rows.calibration),
    }


def label_set_details(scores_NC: np.ndarray, answers_NC: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Per-label table, and the calibration of all yes/no decisions together, as JSON."""
    rows = _LabelSetRows(scores_NC, answers_NC)
    return {"per_class": _table_json(rows.table, labels), "calibration": _calibration_json(calibration(*rows.decisions))}


def number_details(scores_N1: np.ndarray, answers_N: np.ndarray) -> dict[str, Any]:
    """Points [answer, predicted], evenly picked, and a histogram of predicted minus answer, as JSON."""
    points_N2 = np.stack([np.asarray(answers_N, np.float64), np.asarray(scores_N1, np.float64).reshape(-1)], axis=1)
    points_N2 = points_N2[np.isfinite(points_N2).all(axis=1)]
    kept = np.unique(np.linspace(0, len(points_N2) - 1, min(SCATTER, len(points_N2))).astype(np.int64))
    counts, edges = np.histogram(points_N2[:, 1] - points_N2[:, 0], bins=20)
    return {"scatter": points_N2[kept].tolist(), "residuals": {"edges": edges.tolist(), "counts": counts.tolist()}}


def confusion(answers_N: np.ndarray, predicted_N: np.ndarray, *, classes: int) -> np.ndarray:
    """How many rows of each true class (first axis) were given each class (second), [C, C]."""
    return np.bincount(_cells(answers_N, predicted_N, classes), minlength=classes * classes).reshape(classes, classes)


def _cells(answers_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    return np.asarray(answers_N, np.int64) * classes + np.asarray(predicted_N, np.int64)


class PerClass(NamedTuple):
    """A figure for each class, [.., C]; 0 where it would divide by zero. present: the class was answered or predicted at least once."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    present: np.ndarray


def per_class(confusion_CC: np.ndarray) -> PerClass:
    """Precision, recall, F1 and support of each class of a confusion matrix, or of each of many: [.., C, C]."""
    return _per_class(np.diagonal(confusion_CC, axis1=-2, axis2=-1), confusion_CC.sum(axis=-2), confusion_CC.sum(axis=-1))


def _per_class(hits_C: np.ndarray, predicted_C: np.ndarray, support_C: np.ndarray) -> PerClass:
    either_C = predicted_C + support_C
    return PerClass(_ratio(hits_C, predicted_C), _ratio(hits_C, support_C), _ratio(2 * hits_C, either_C), support_C, either_C > 0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.asarray(above / np.maximum(below, 1))


def matthews(confusion_CC: np.ndarray) -> np.ndarray:
    """Matthews correlation of a confusion matrix, or of each of many: [.., C, C]; 0 where all rows are, or are given, one class."""
    counts = confusion_CC.astype(np.float64)
    answered_C, predicted_C, rows = counts.sum(axis=-1), counts.sum(axis=-2), counts.sum(axis=(-2, -1))
    spread = (rows**2 - (answered_C**2).sum(axis=-1)) * (rows**2 - (predicted_C**2).sum(axis=-1))
    above = np.trace(counts, axis1=-2, axis2=-1) * rows - (answered_C * predicted_C).sum(axis=-1)
    return np.where(spread > 0, above, 0.0) / np.sqrt(np.where(spread > 0, spread, 1.0))


def log_loss(scores_NC: np.ndarray, answers_N: np.ndarray) -> float:
    """Mean negative log probability of the true class, each probability at least float64's epsilon."""
    chosen_N = np.take_along_axis(np.asarray(scores_NC, np.float64), np.asarray(answers_N, np.int64)[:, None], axis=1)
    return float(-np.log(np.clip(chosen_N, np.finfo(np.float64).eps, 1.0)).mean())


class Calibration(NamedTuple):
    """Sums over the rows whose confidence falls in each bin, [K]."""

    confidence: np.ndarray
    correct: np.ndarray
    rows: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, bins weighted by their rows."""
        return float(np.abs(self.confidence - self.correct).sum() / self.rows.sum())


def calibration(scores_NC: np.ndarray, answers_N: np.ndarray) -> Calibration:
    """Confidence of the predicted class against how often it is right, in bins that are open on the left."""
    confidence_N = np.asarray(scores_NC.max(axis=1), np.float64)
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(np.int64) - 1, 0, BINS - 1)
    correct_N = scores_NC.argmax(axis=1) == answers_N
    return Calibration(np.bincount(bin_N, confidence_N, BINS), np.bincount(bin_N, correct_N, BINS), np.bincount(bin_N, minlength=BINS))


def roc_auc(scores_N: np.ndarray, positive_N: np.ndarray) -> float:
    """Chance that a positive row scores above a negative one, ties half; NaN where one kind is missing."""
    positives = int(positive_N.sum())
    pairs = positives * (len(positive_N) - positives)
    return float((ranks(scores_N)[positive_N].sum() - positives * (positives + 1) / 2) / pairs) if pairs else math.nan


def macro_roc_auc(scores_NC: np.ndarray, positive_NC: np.ndarray) -> float:
    """Mean of one-versus-rest areas over the classes that have both kinds of rows; NaN where none has."""
    areas = [roc_auc(scores_N, positive_N) for scores_N, positive_N in zip(scores_NC.T, positive_NC.T, strict=True)]
    return _mean(np.array([area for area in areas if not math.isnan(area)]))


def ranks(values_N: np.ndarray) -> np.ndarray:
    """1-based ranks; equal values share the mean of theirs."""
    _, place_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    mean_ranks: np.ndarray = np.cumsum(counts) - (counts - 1) / 2
    return mean_ranks[place_N]


def pearson(left_N: np.ndarray, right_N: np.ndarray) -> float:
    """Linear correlation; NaN where either side is constant."""
    if np.ptp(left_N) == 0 or np.ptp(right_N) == 0:
        return math.nan
    left_N, right_N = left_N - left_N.mean(), right_N - right_N.mean()
    cosine = (left_N / np.linalg.norm(left_N)) @ (right_N / np.linalg.norm(right_N))
    return float(np.clip(cosine, -1.0, 1.0))


def spearman(left_N: np.ndarray, right_N: np.ndarray) -> float:
    """Correlation of average ranks; NaN where either side is constant."""
    return pearson(ranks(left_N), ranks(right_N))


def r2(answers_N: np.ndarray, predicted_N: np.ndarray) -> float:
    """Share of the answers' variance that is explained; NaN where they have none."""
    if np.ptp(answers_N) == 0:
        return math.nan
    return float(1 - ((answers_N - predicted_N) ** 2).sum() / ((answers_N - answers_N.mean()) ** 2).sum())


@dataclass(frozen=True, eq=False)
class _Counts:
    """Confusion matrices [.., C, C] of one row or more each, and what several figures share, worked out when the first of them asks."""

    confusion: np.ndarray

    @cached_property
    def rows(self) -> np.ndarray:
        return np.asarray(self.confusion.sum(axis=(-2, -1)))

    @cached_property
    def table(self) -> PerClass:
        return per_class(self.confusion)

    def macro(self, figure_C: np.ndarray) -> np.ndarray:
        """The mean over the classes that are present; the others' figure is 0."""
        return np.asarray(figure_C.sum(axis=-1) / self.table.present.sum(axis=-1))

    def second(self) -> np.ndarray:
        f1_C = self.table.f1
        return np.asarray(f1_C[..., 1] if f1_C.shape[-1] == 2 else np.full(f1_C.shape[:-1], np.nan))


@dataclass(frozen=True, eq=False)
class _ClassRows:
    """Scores [N, C] and answers [N], with what several figures share, worked out when the first of them asks."""

    scores: np.ndarray
    answers: np.ndarray

    @cached_property
    def counts(self) -> _Counts:
        return _Counts(confusion(self.answers, self.scores.argmax(axis=1), classes=self.scores.shape[1]))

    @cached_property
    def calibration(self) -> Calibration:
        return calibration(self.scores, self.answers)

    def roc_auc(self) -> float:
        classes = self.scores.shape[1]
        if classes == 2:
            return roc_auc(self.scores[:, 1], self.answers == 1)
        return macro_roc_auc(self.scores, self.answers[:, None] == np.arange(classes))


@dataclass(frozen=True, eq=False)
class _LabelSetRows:
    """Scores and answers, both [N, C]."""

    scores: np.ndarray
    answers: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        return np.asarray(self.scores >= THRESHOLD)

    @cached_property
    def decisions(self) -> tuple[np.ndarray, np.ndarray]:
        """Each label of each row as a row of two classes, no and yes: scores [N·C, 2] and answers [N·C]."""
        yes = np.asarray(self.scores, np.float64).reshape(-1)
        return np.stack([1 - yes, yes], axis=1), (self.answers > 0).reshape(-1).astype(np.int64)

    @cached_property
    def table(self) -> PerClass:
        hits_C = (self.predicted & (self.answers > 0)).sum(axis=0)
        return _per_class(hits_C, self.predicted.sum(axis=0), (self.answers > 0).sum(axis=0))

    def micro_f1(self) -> float:
        either = int(self.predicted.sum() + (self.answers > 0).sum())
        return float(2 * (self.predicted & (self.answers > 0)).sum() / either) if either else math.nan


@dataclass(frozen=True, eq=False)
class _NumberRows:
    """Predicted numbers and answers, both [N]."""

    predicted: np.ndarray
    answers: np.ndarray


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


# Classes that are neither answered nor predicted have no figure of their own and are left out of macro means: scikit-learn's rule for
# single labels. It is used for label sets too (there it is zero_division=nan), or a rare label missing from a resample would count as 0.
_COUNTED: Mapping[str, Callable[[_Counts], np.ndarray]] = {
    "accuracy": lambda counts: np.trace(counts.confusion, axis1=-2, axis2=-1) / counts.rows,
    "macro_f1": lambda counts: counts.macro(counts.table.f1),
    "macro_precision": lambda counts: counts.macro(counts.table.precision),
    "macro_recall": lambda counts: counts.macro(counts.table.recall),
    "weighted_f1": lambda counts: (counts.table.f1 * counts.table.support).sum(axis=-1) / counts.rows,
    "matthews": lambda counts: matthews(counts.confusion),
    "f1": lambda counts: counts.second(),
}
_ASKED_FOR = ("f1",)
"""Which class it is of, only an asker knows."""
_CLASS_FIGURES: Mapping[str, Callable[[_ClassRows], float]] = {
    "roc_auc": lambda rows: rows.roc_auc(),
    "calibration_error": lambda rows: rows.calibration.error,
    "log_loss": lambda rows: log_loss(rows.scores, rows.answers),
}
_LABEL_SET_FIGURES: Mapping[str, Callable[[_LabelSetRows], float]] = {
    "micro_f1": lambda rows: rows.micro_f1(),
    "macro_f1": lambda rows: _mean(rows.table.f1[rows.table.present]),
    "macro_precision": lambda rows: _mean(rows.table.precision[rows.table.present]),
    "macro_recall": lambda rows: _mean(rows.table.recall[rows.table.present]),
    "subset_accuracy": lambda rows: float((rows.predicted == (rows.answers > 0)).all(axis=1).mean()),
    "roc_auc": lambda rows: macro_roc_auc(rows.scores, rows.answers > 0),
    "calibration_error": lambda rows: calibration(*rows.decisions).error,
    "log_loss": lambda rows: log_loss(*rows.decisions),
}
_NUMBER_FIGURES: Mapping[str, Callable[[_NumberRows], float]] = {
    "pearson": lambda rows: pearson(rows.answers, rows.predicted),
    "spearman": lambda rows: spearman(rows.answers, rows.predicted),
    "mean_absolute_error": lambda rows: float(np.abs(rows.predicted - rows.answers).mean()),
    "root_mean_squared_error": lambda rows: math.sqrt(((rows.predicted - rows.answers) ** 2).mean()),
    "r2": lambda rows: r2(rows.answers, rows.predicted),
}


def _figures(rows: Rows, figures: Mapping[str, Callable[[Rows], float]], names: Collection[str] | None) -> dict[str, float]:
    found = {name: figures[name](rows) for name in (figures if names is None else names)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _table_json(table: PerClass, labels: Sequence[str]) -> list[dict[str, Any]]:
    columns = zip(labels, table.precision, table.recall, table.f1, table.support, strict=True)
    return [
        {"label": label, "precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
        for label, precision, recall, f1, support in columns
    ]


def _calibration_json(bins: Calibration) -> list[dict[str, Any]]:
    return [
        {"confidence": float(confidence / rows), "accuracy": float(correct / rows), "count": int(rows)}
        for confidence, correct, rows in zip(bins.confidence, bins.correct, bins.rows, strict=True)
        if rows
    ]
