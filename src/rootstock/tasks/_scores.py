"""Figures that tasks share, in numpy alone: the numbers of scikit-learn and scipy without the time to import them.

Each is a function of how often sets of rows hold each row, so that what is measured of all rows and of a thousand resamples is one thing.
Shape letters: N rows, R sets of rows, C classes or labels, M different values. Scores are probabilities, or the numbers themselves for
regression. A figure that a set does not define (a correlation with a constant, ROC-AUC of one class) is NaN there, and of all rows is left
out: nothing here returns NaN in a dict.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from rootstock.core.tally import Groups, Tally, mean, ratio, tally
from rootstock.tasks import _classes
from rootstock.tasks._classes import Calibration, Counts, Sure
from rootstock.tasks._ranked import Areas, Valued

THRESHOLD = 0.5
"""A label is answered where its probability is at least this."""
SCATTER = 500
"""Points kept for a chart: enough to show the shape, few enough to stay small in a report."""
OfCounts = Mapping[str, Callable[[np.ndarray], np.ndarray]]
"""Figures [R] by name, each of how often sets of rows hold each row [R, N]."""


def class_metrics(scores_NC: np.ndarray, answers_N: np.ndarray, names: Collection[str] | None = None) -> dict[str, float]:
    """Figures of one class a row: all, or only `names`.

    f1, the second of two classes against the first, is given only where it is named.
    """
    return _whole(class_tally(scores_NC, answers_N, [name for name in _CLASS if name not in _ASKED_FOR] if names is None else names))


def class_tally(scores_NC: np.ndarray, answers_N: np.ndarray, names: Collection[str]) -> Tally | None:
    """The same of many sets of these rows, with those of `class_details` by their places in it."""
    rows = _ClassRows(scores_NC, answers_N)
    figures, go_by = _with_finer(_CLASS, rows, names)
    return tally(
        names,
        figures,
        lambda counts_RN: _ClassDrawn(rows, counts_RN),
        rows=len(answers_N),
        go_by=go_by | _area_rows(rows, names),
        above=_above(rows, names),
    )


def label_set_metrics(scores_NC: np.ndarray, answers_NC: np.ndarray, names: Collection[str] | None = None) -> dict[str, float]:
    """Figures of any number of labels a row; answers are 0/1."""
    return _whole(label_set_tally(scores_NC, answers_NC, list(_LABEL_SET) if names is None else names))


def label_set_tally(scores_NC: np.ndarray, answers_NC: np.ndarray, names: Collection[str]) -> Tally | None:
    """The same of many sets of these rows, with those of `label_set_details` by their places in it."""
    rows = _LabelSetRows(scores_NC, answers_NC)
    figures, go_by = _with_finer(_LABEL_SET, rows, names)
    return tally(
        names, figures, lambda counts_RN: _LabelSetDrawn(rows, counts_RN), rows=len(answers_NC), go_by=go_by, above=_above(rows, names)
    )


def number_metrics(scores_N1: np.ndarray, answers_N: np.ndarray, names: Collection[str] | None = None) -> dict[str, float]:
    """Figures of one number a row; scores are [N, 1] or [N]."""
    return _whole(number_tally(scores_N1, answers_N, list(_NUMBER) if names is None else names))


def number_tally(scores_N1: np.ndarray, answers_N: np.ndarray, names: Collection[str]) -> Tally | None:
    """The same of many sets of these rows."""
    figures = number_figures(scores_N1, answers_N, list(_NUMBER))
    return tally(names, figures, lambda counts_RN: counts_RN, rows=len(answers_N))


def number_figures(scores_N1: np.ndarray, answers_N: np.ndarray, names: Collection[str]) -> OfCounts:
    """The named figures as functions of counts alone."""
    rows = _NumberRows(np.asarray(scores_N1, np.float64).reshape(-1), np.asarray(answers_N, np.float64))

    def of(name: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda counts_RN: _NUMBER[name](rows, counts_RN)

    return {name: of(name) for name in names}


def class_details(scores_NC: np.ndarray, answers_N: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Per-class table, confusion matrix (a row of it is one true class) and calibration, as JSON."""
    rows = _ClassRows(scores_NC, answers_N)
    return {
        "per_class": _classes.table_json(rows.whole.table, labels),
        "confusion": confusion(answers_N, rows.predicted, classes=scores_NC.shape[1]).tolist(),
        "calibration": _classes.calibration_json(rows.sure.whole()),
    }


def label_set_details(scores_NC: np.ndarray, answers_NC: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Per-label table, and the calibration of all yes/no decisions together, as JSON."""
    rows = _LabelSetRows(scores_NC, answers_NC)
    return {
        "per_class": _classes.table_json(rows.whole.table, labels),
        "calibration": _classes.calibration_json(rows.sure.whole()),
    }


def number_details(scores_N1: np.ndarray, answers_N: np.ndarray) -> dict[str, Any]:
    """Points [answer, predicted], evenly picked, and a histogram of predicted minus answer, as JSON."""
    points_N2 = np.stack([np.asarray(answers_N, np.float64), np.asarray(scores_N1, np.float64).reshape(-1)], axis=1)
    points_N2 = points_N2[np.isfinite(points_N2).all(axis=1)]
    kept = np.unique(np.linspace(0, len(points_N2) - 1, min(SCATTER, len(points_N2))).astype(np.int64))
    counts, edges = np.histogram(points_N2[:, 1] - points_N2[:, 0], bins=20)
    return {"scatter": points_N2[kept].tolist(), "residuals": {"edges": edges.tolist(), "counts": counts.tolist()}}


def confusion(answers_N: np.ndarray, predicted_N: np.ndarray, *, classes: int) -> np.ndarray:
    """How many rows of each true class (first axis) were given each class (second), [C, C]."""
    cells_N = np.asarray(answers_N, np.int64) * classes + np.asarray(predicted_N, np.int64)
    return np.bincount(cells_N, minlength=classes * classes).reshape(classes, classes)


def matthews(counts: Counts) -> np.ndarray:
    """Matthews correlation of one class a row; 0 where all rows are, or are given, one class."""
    hits, predicted, answered = (np.asarray(each, np.float64) for each in (counts.hits, counts.predicted, counts.support))
    rows = answered.sum(-1)
    spread = (rows**2 - (answered**2).sum(-1)) * (rows**2 - (predicted**2).sum(-1))
    above = hits.sum(-1) * rows - (answered * predicted).sum(-1)
    found = np.where(spread > 0, above, 0.0) / np.sqrt(np.where(spread > 0, spread, 1.0))
    return np.where(rows > 0, found, np.nan)


def log_losses(scores_NC: np.ndarray, answers_N: np.ndarray) -> np.ndarray:
    """Negative log probability of each row's true class, each probability at least float64's epsilon."""
    chosen_N = np.take_along_axis(np.asarray(scores_NC, np.float64), np.asarray(answers_N, np.int64)[:, None], axis=1)[:, 0]
    return np.asarray(-np.log(np.clip(chosen_N, np.finfo(np.float64).eps, 1.0)))


def pearson(left: np.ndarray, right: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Linear correlation in each set, [R], of values [N] or [R, N]; NaN where either side is constant."""
    rows_R1 = np.maximum(counts_RN.sum(1, keepdims=True), 1)
    sides, varied = list[np.ndarray](), np.ones(len(counts_RN), bool)
    for values in (left, right):
        centred = values - (counts_RN * values).sum(1, keepdims=True) / rows_R1
        length_R1 = np.sqrt((counts_RN * centred**2).sum(1, keepdims=True))
        sides.append(centred / np.where(length_R1 > 0, length_R1, 1.0))
        varied &= _varied(values, counts_RN)
    return np.asarray(np.where(varied, np.clip((counts_RN * sides[0] * sides[1]).sum(1), -1.0, 1.0), np.nan))


def _varied(values: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Whether a set's values differ, [R]."""
    there_RN = counts_RN > 0
    most_R, least_R = np.where(there_RN, values, -np.inf).max(1, initial=-np.inf), np.where(there_RN, values, np.inf).min(1, initial=np.inf)
    return np.asarray(most_R > least_R)


def r2(answers_N: np.ndarray, predicted_N: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Share of the answers' variance that is explained in each set, [R]; NaN where they have none."""
    centred_RN = answers_N - mean(counts_RN, answers_N)[:, None]
    held_R = np.where(_varied(answers_N, counts_RN), (counts_RN * centred_RN**2).sum(1), 0.0)
    return 1 - ratio(counts_RN @ (answers_N - predicted_N) ** 2, held_R)


@dataclass(frozen=True, eq=False)
class _ClassRows:
    """Scores [N, C] and answers [N], with what several figures of any sets share, worked out when the first of them asks."""

    scores: np.ndarray
    answers: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        return np.asarray(self.scores.argmax(axis=1))

    @cached_property
    def sides(self) -> tuple[Groups, Groups, Groups]:
        """Rows by the class that was found, predicted and answered."""
        classes, answers_N = self.scores.shape[1], np.asarray(self.answers, np.int64)
        found_N = np.where(self.predicted == answers_N, answers_N, -1)
        return Groups.of(found_N, classes), Groups.of(self.predicted, classes), Groups.of(answers_N, classes)

    @cached_property
    def whole(self) -> Counts:
        return Counts(*(side.sums(np.ones((1, len(self.answers))))[0] for side in self.sides))

    @cached_property
    def sure(self) -> Sure:
        """Confidence of the predicted class against how often it is right."""
        return _classes.sure(self.scores.max(axis=1)[:, None], (self.predicted == self.answers)[:, None])

    @cached_property
    def losses(self) -> np.ndarray:
        return log_losses(self.scores, self.answers)

    @cached_property
    def areas(self) -> Areas:
        """Each class against the rest; of two classes the second alone."""
        classes = [1] if self.scores.shape[1] == 2 else [place for place in range(self.scores.shape[1]) if (self.answers == place).any()]
        return Areas(self.scores[:, classes], np.asarray(self.answers)[:, None] == classes)


@dataclass(frozen=True, eq=False)
class _ClassDrawn:
    """Sets of these rows, by counts [R, N]."""

    rows: _ClassRows
    times: np.ndarray

    @cached_property
    def counts(self) -> Counts:
        return Counts(*(side.sums(self.times) for side in self.rows.sides))

    @cached_property
    def calibration(self) -> Calibration:
        return self.rows.sure.drawn(self.times)

    @cached_property
    def held(self) -> np.ndarray:
        return np.asarray(self.counts.support.sum(-1))


@dataclass(frozen=True, eq=False)
class _LabelSetRows:
    """Scores and answers, both [N, C]."""

    scores: np.ndarray
    answers: np.ndarray

    @cached_property
    def positive(self) -> np.ndarray:
        return np.asarray(self.answers > 0)

    @cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which labels of each row were found, predicted and answered."""
        predicted_NC = np.asarray(self.scores >= THRESHOLD)
        return (predicted_NC & self.positive).astype(np.float64), predicted_NC.astype(np.float64), self.positive.astype(np.float64)

    @cached_property
    def whole(self) -> Counts:
        return Counts(*(side.sum(0) for side in self.sides))

    @cached_property
    def exact(self) -> np.ndarray:
        return np.asarray(((self.scores >= THRESHOLD) == self.positive).all(axis=1), np.float64)

    @cached_property
    def sure(self) -> Sure:
        """Of each label of each row, as a choice between no and yes."""
        yes_NC = np.asarray(self.scores, np.float64)
        return _classes.sure(np.maximum(yes_NC, 1 - yes_NC), (yes_NC > 1 - yes_NC) == self.positive)

    @cached_property
    def losses(self) -> np.ndarray:
        """Mean over the labels of each row."""
        yes_NC = np.asarray(self.scores, np.float64)
        chosen_NC = np.where(self.positive, yes_NC, 1 - yes_NC)
        return np.asarray(-np.log(np.clip(chosen_NC, np.finfo(np.float64).eps, 1.0)).mean(axis=1))

    @cached_property
    def areas(self) -> Areas:
        return Areas(self.scores, self.positive)


@dataclass(frozen=True, eq=False)
class _LabelSetDrawn:
    """Sets of these rows, by counts [R, N]."""

    rows: _LabelSetRows
    times: np.ndarray

    @cached_property
    def counts(self) -> Counts:
        return Counts(*(self.times @ side for side in self.rows.sides))

    @cached_property
    def calibration(self) -> Calibration:
        return self.rows.sure.drawn(self.times)


@dataclass(frozen=True, eq=False)
class _NumberRows:
    """Predicted numbers and answers, both [N]."""

    predicted: np.ndarray
    answers: np.ndarray

    @property
    def missed(self) -> np.ndarray:
        return np.asarray(self.predicted - self.answers)

    @cached_property
    def ranked(self) -> tuple[Valued, Valued]:
        return Valued.of(self.answers), Valued.of(self.predicted)


_Drawn = TypeVar("_Drawn", _ClassDrawn, _LabelSetDrawn)


def _with_finer(
    figures: Mapping[str, Callable[[_Drawn], np.ndarray]], rows: _ClassRows | _LabelSetRows, names: Collection[str]
) -> tuple[Mapping[str, Callable[[_Drawn], np.ndarray]], dict[str, int]]:
    """These figures and, where one of a class or a bin of confidence is named, all of those; and how many rows each of those goes by."""
    if not any("/" in name for name in names):
        return figures, {}
    finer: _classes.Figures[_Drawn] = _classes.class_figures(rows.scores.shape[1], _counts)
    finer |= _classes.bin_figures(_classes.held(rows.sure), _calibration)
    return {**figures, **finer}, _classes.class_rows(rows.whole) | _classes.bin_rows(rows.sure)


def _counts(drawn: _ClassDrawn | _LabelSetDrawn) -> Counts:
    return drawn.counts


def _calibration(drawn: _ClassDrawn | _LabelSetDrawn) -> Calibration:
    return drawn.calibration


def _area_rows(rows: _ClassRows, names: Collection[str]) -> dict[str, int]:
    """ROC-AUC goes by the rows of the rarest class at most: of three positive rows a perfect order proves little."""
    if "roc_auc" not in names or not len(rows.answers):
        return {}
    support_C = rows.whole.support
    return {"roc_auc": int(support_C[support_C > 0].min())}


def _above(rows: _ClassRows | _LabelSetRows, names: Collection[str]) -> dict[str, float]:
    """The calibration error is a mean of distances."""
    return {"calibration_error": rows.sure.above()} if "calibration_error" in names and len(rows.answers) else {}


def _whole(made: Tally | None) -> dict[str, float]:
    if made is None:
        raise KeyError("a name that is none of these figures'")
    return made.whole()


# Classes that are neither answered nor predicted have no figure of their own and are left out of macro means: scikit-learn's rule for
# single labels. It is used for label sets too (there it is zero_division=nan), or a rare label missing from a resample would count as 0.
_CLASS: Mapping[str, Callable[[_ClassDrawn], np.ndarray]] = {
    "accuracy": lambda drawn: ratio(drawn.counts.hits.sum(-1), drawn.held),
    "macro_f1": lambda drawn: drawn.counts.macro(drawn.counts.table.f1),
    "macro_precision": lambda drawn: drawn.counts.macro(drawn.counts.table.precision),
    "macro_recall": lambda drawn: drawn.counts.macro(drawn.counts.table.recall),
    "weighted_f1": lambda drawn: ratio((drawn.counts.table.f1 * drawn.counts.support).sum(-1), drawn.held),
    "matthews": lambda drawn: matthews(drawn.counts),
    "f1": lambda drawn: drawn.counts.table.f1[..., 1] if drawn.counts.hits.shape[-1] == 2 else np.full(len(drawn.times), np.nan),
    "roc_auc": lambda drawn: drawn.rows.areas.mean(drawn.times),
    "calibration_error": lambda drawn: drawn.rows.sure.error(drawn.times),
    "log_loss": lambda drawn: mean(drawn.times, drawn.rows.losses),
}
_ASKED_FOR = ("f1",)
"""Which class it is of, only an asker knows."""
_LABEL_SET: Mapping[str, Callable[[_LabelSetDrawn], np.ndarray]] = {
    "micro_f1": lambda drawn: drawn.counts.micro(),
    "macro_f1": lambda drawn: drawn.counts.macro(drawn.counts.table.f1),
    "macro_precision": lambda drawn: drawn.counts.macro(drawn.counts.table.precision),
    "macro_recall": lambda drawn: drawn.counts.macro(drawn.counts.table.recall),
    "subset_accuracy": lambda drawn: mean(drawn.times, drawn.rows.exact),
    "roc_auc": lambda drawn: drawn.rows.areas.mean(drawn.times),
    "calibration_error": lambda drawn: drawn.rows.sure.error(drawn.times),
    "log_loss": lambda drawn: mean(drawn.times, drawn.rows.losses),
}
_NUMBER: Mapping[str, Callable[[_NumberRows, np.ndarray], np.ndarray]] = {
    "pearson": lambda rows, times: pearson(rows.answers, rows.predicted, times),
    "spearman": lambda rows, times: pearson(rows.ranked[0].ranks(times), rows.ranked[1].ranks(times), times),
    "mean_absolute_error": lambda rows, times: mean(times, np.abs(rows.missed)),
    "root_mean_squared_error": lambda rows, times: np.sqrt(mean(times, rows.missed**2)),
    "r2": lambda rows, times: r2(rows.answers, rows.predicted, times),
}
