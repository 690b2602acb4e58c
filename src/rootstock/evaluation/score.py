"""The content of metrics.json: figures with intervals, beside what a model has to beat, with and without rows seen in training.

Shape letters: N rows, R resamples, F figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rootstock.core.figures import ERRORS
from rootstock.core.rows import Columns
from rootstock.core.task import Labelled
from rootstock.evaluation.baselines import Baselines
from rootstock.evaluation.intervals import FEWEST, draws, interval, limits, measure

_SPELLED = {"bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1"}
_CALLED = {
    "class": {
        "majority": "always answering the most frequent class",
        "tfidf": "TF-IDF + logistic regression",
        "pixels": "logistic regression on thumbnails",
    },
    "classes": {"majority": "always answering the most frequent labels", "tfidf": "TF-IDF + logistic regression"},
    "number": {"majority": "always answering the mean", "tfidf": "TF-IDF + ridge regression"},
    "choice": {"words": "the choice that shares most words with what is asked", "majority": "always the most frequent place"},
    "span": {"sentence": "the sentence with most of the question's words", "majority": "always answering that there is no answer"},
    "text": {"copy": "copying the source"},
    "completion": {"unigram": "guessing tokens by their frequency alone"},
    "preference": {"length": "going by length alone"},
    "similarity": {"base": "the base before training", "tfidf": "the cosine of TF-IDF"},
    "retrieval": {"base": "the base before training", "tfidf": "the nearest by TF-IDF"},
    "tags": {"majority": "always answering the most frequent tag", "dictionary": "each word's most frequent tag in training"},
}


@dataclass(frozen=True)
class _Rival:
    """A baseline beside the model on the first headline figure; `difference` is the model's figure minus its own.

    less: whether less is better.
    """

    called: str
    value: float
    difference: tuple[float, float]
    separable: bool
    less: bool

    @property
    def beaten(self) -> bool:
        return self.separable and (self.difference[1] < 0 if self.less else self.difference[0] > 0)


@dataclass(frozen=True)
class _Drawn:
    """The first headline figure of the model: on all rows, and on resamples of them [R]."""

    whole: float
    resampled: np.ndarray


def score(
    columns: Columns, task: Labelled, *, seed: int, overlap_N: np.ndarray | None = None, baselines: Baselines | None = None
) -> dict[str, Any]:
    """All that is known about these predictions, as JSON.

    columns: "scores" and "answers", and what more `judged` reads. overlap_N: whether the row also occurs in training, [N]; "leakage" is
    null without it.
    Undefined figures are left out, so a part can be empty. "beats" and "differences" go by the task's first headline figure.
    """
    rows, names = len(columns["answers"]), task.headline
    columns = task.judged({name: np.asarray(values) for name, values in columns.items()})
    figures = task.metrics(columns)
    drawn_RF = draws(columns, measure(task, columns, names), names=names, seed=seed) if rows else np.empty((0, len(names)))
    drawn = {name: drawn_R for name, drawn_R in zip(names, drawn_RF.T, strict=True) if name in figures}
    intervals = {name: interval(drawn_R, figures[name], rows, within=limits(name)) for name, drawn_R in drawn.items()}
    given = baselines or Baselines({}, {})
    beside = {name: task.judged(found) for name, found in given.columns.items()}
    scored = {name: task.metrics(found) for name, found in beside.items()}
    drawn_here = _Drawn(figures[names[0]], drawn_RF[:, 0]) if names[0] in figures else None
    rivals = _rivals(beside, scored, task=task, seed=seed, drawn=drawn_here) if drawn_here else {}
    return {
        "rows": rows,
        "metrics": figures,
        "intervals": {name: list(found) for name, found in intervals.items() if found},
        "baselines": scored,
        "left_out": dict(given.left_out),
        **({"signatures": task.signatures} if task.signatures else {}),
        "beats": {name: rival.beaten for name, rival in rivals.items()},
        "differences": {name: _difference(rival, names[0]) for name, rival in rivals.items()},
        "leakage": None if overlap_N is None else _leakage(columns, task, np.asarray(overlap_N, bool)),
        "verdict": _verdict(figures, intervals.get(names[0]), rows=rows, headline=names[0], rivals=list(rivals.values())),
    }


def _rivals(
    columns: Mapping[str, Columns], scored: Mapping[str, Mapping[str, float]], *, task: Labelled, seed: int, drawn: _Drawn
) -> dict[str, _Rival]:
    """Each baseline against the model on the same resamples (the same seed draws the same rows).

    A figure that a baseline does not define counts as 0: a constant has no correlation with anything.
    """
    headline, found = task.headline[0], {}
    for name, baseline in columns.items():
        other_R = np.zeros_like(drawn.resampled)
        if headline in scored[name]:
            other_R = draws(baseline, measure(task, baseline, (headline,)), names=(headline,), seed=seed)[:, 0]
        called, value = _CALLED.get(task.kind, {}).get(name, name), scored[name].get(headline, 0.0)
        rows = len(next(iter(baseline.values())))
        low, high = interval(drawn.resampled - other_R, drawn.whole - value, rows, within=None) or (0.0, 0.0)
        separable = rows >= FEWEST and (low > 0 or high < 0)
        found[name] = _Rival(called, value, (low, high), separable, headline in ERRORS)
    return found


def _difference(rival: _Rival, figure: str) -> dict[str, Any]:
    return {"figure": figure, "difference": list(rival.difference), "separable": rival.separable}


def _leakage(columns: Columns, task: Labelled, overlap_N: np.ndarray) -> dict[str, Any]:
    """Headline figures on all rows, on those that training never showed, and on those that it did."""

    def part(chosen_N: np.ndarray) -> dict[str, float]:
        return task.metrics({name: values[chosen_N] for name, values in columns.items()}, task.headline)

    everything = np.ones(len(overlap_N), bool)
    return {
        "overlap_rows": int(overlap_N.sum()),
        "with": part(everything),
        "without": part(~overlap_N),
        "overlap_only": part(overlap_N),
    }


def _verdict(
    figures: Mapping[str, float], between: tuple[float, float] | None, *, rows: int, headline: str, rivals: Sequence[_Rival]
) -> str:
    """One plain sentence on the model against the strongest baseline."""
    called = _SPELLED.get(headline, headline.replace("_", " "))
    if headline not in figures or between is None:
        reason = "there are no rows" if not rows else "the answers or the predictions are all the same"
        return f"{called} is not defined here: {reason}"
    reached = f"{called} {figures[headline]:.3f} [{between[0]:.3f}, {between[1]:.3f}]"
    if not rivals:
        return f"{reached} on {rows:,} rows, with no baseline beside it"
    rival = max(rivals, key=lambda rival: -rival.value if rival.less else rival.value)
    against = f"{rival.called} ({rival.value:.3f})"
    if rival.beaten:
        return f"{reached} beats {against}"
    if rival.separable:
        return f"{reached} does not beat {against}: this model adds nothing over it"
    return f"{reached} is not separable from {against} with this test set of {rows:,} rows"
