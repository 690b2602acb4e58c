"""The content of metrics.json: figures with intervals, beside what a model has to beat, with and without rows seen in training.

Shape letters: N rows, R resamples, F figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rootstock.core.figures import ERRORS
from rootstock.core.rows import Columns
from rootstock.core.tally import Tally
from rootstock.core.task import Labelled
from rootstock.evaluation.baselines import Baselines
from rootstock.evaluation.intervals import FEWEST, ends, interval, resampled, tallied

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
class _Part:
    """Some answers to the rows: the model's or a baseline's, to all of them or to the chosen ones [N] alone.

    tally: makes the figures that these answers define, `whole`.
    """

    tally: Tally
    whole: dict[str, float]
    chosen: np.ndarray | None = None

    @classmethod
    def of(cls, columns: Columns, task: Labelled, names: Sequence[str] | None = None, chosen_N: np.ndarray | None = None) -> "_Part":
        """Of judged columns. names: of the figures, all unless given; chosen_N: bool, which of the rows the columns are."""
        whole = task.metrics(columns, names)
        known = [name for name in dict.fromkeys((*task.headline, *whole)) if name in whole]
        return cls(tallied(task, columns, known), {name: whole[name] for name in known}, chosen_N)

    def of_sets(self, counts_RN: np.ndarray) -> np.ndarray:
        """Figures of sets of all rows, [R, F]."""
        return self.tally.of(counts_RN if self.chosen is None else counts_RN[:, self.chosen])

    def ends(self, drawn_RF: np.ndarray) -> dict[str, list[float]]:
        """95 % intervals of the figures that have one."""
        return ends(self.tally, drawn_RF, self.whole)


def score(
    columns: Columns, task: Labelled, *, seed: int, overlap_N: np.ndarray | None = None, baselines: Baselines | None = None
) -> dict[str, Any]:
    """All that is known about these predictions, as JSON.

    columns: "scores" and "answers", and what more `judged` reads. overlap_N: whether the row also occurs in training, [N]; "leakage" is
    null without it.
    Undefined figures are left out, so a part can be empty. "beats" and "differences" go by the task's first headline figure. All intervals
    come from the same resamples.
    """
    columns = task.judged({name: np.asarray(values) for name, values in columns.items()})
    given, rows = baselines or Baselines({}, {}), len(next(iter(columns.values())))
    rivals = {name: _Part.of(task.judged(found), task) for name, found in given.columns.items()}
    seen = {} if overlap_N is None else _seen(columns, task, np.asarray(overlap_N, bool))
    model = _Part.of(columns, task)
    drawn = _drawn([model, *rivals.values(), *seen.values()], rows, seed)
    intervals, headline = model.ends(drawn[0]), task.headline[0]
    of_rivals = dict(zip(rivals, drawn[1:], strict=False))
    beside = {}
    if headline in model.whole:
        first_R = drawn[0][:, model.tally.names.index(headline)]
        found = {name: (rivals[name], drawn_RF) for name, drawn_RF in of_rivals.items()}
        beside = _rivals(found, task, model.whole[headline], first_R)
    of_seen = dict(zip(seen, drawn[1 + len(rivals) :], strict=True))
    everything = tuple({name: found[name] for name in task.headline if name in found} for found in (model.whole, intervals))
    return {
        "rows": rows,
        "headline": list(task.headline),
        "metrics": model.whole,
        "intervals": intervals,
        "baselines": {name: part.whole for name, part in rivals.items()},
        "baseline_intervals": {name: part.ends(of_rivals[name]) for name, part in rivals.items()},
        "left_out": dict(given.left_out),
        **({"signatures": task.signatures} if task.signatures else {}),
        "beats": {name: rival.beaten for name, rival in beside.items()},
        "differences": {name: _difference(rival, headline) for name, rival in beside.items()},
        "leakage": _leakage(seen, of_seen, everything, int(np.sum(overlap_N))) if overlap_N is not None else None,
        "verdict": _verdict(model.whole, intervals.get(headline), rows=rows, headline=headline, rivals=list(beside.values())),
    }


def details(columns: Columns, task: Labelled, *, seed: int) -> dict[str, Any]:
    """What a report draws of these predictions, each measure in a table with its interval, from the resamples of `score`."""
    found = task.details(columns)
    names = [
        f"{section}/{place}/{name}"
        for section, entries in found.items()
        for place, entry in enumerate(entries if isinstance(entries, list) else ())
        for name, value in (entry.items() if isinstance(entry, dict) else ())
        if isinstance(value, float)
    ]
    judged = task.judged({name: np.asarray(values) for name, values in columns.items()})
    tally = task.tally(judged, names) if names else None
    if tally is None:
        return found
    between = ends(tally, _drawn([_Part(tally, {})], tally.rows, seed)[0], tally.whole())
    for name in names:
        section, place, key = name.split("/")
        if name in between:
            found[section][int(place)].setdefault("intervals", {})[key] = between[name]
    return found


def _drawn(parts: Sequence[_Part], rows: int, seed: int) -> list[np.ndarray]:
    """The figures of each part on the same resamples of all rows, [R, F] each."""
    if not rows:
        return [np.empty((0, len(part.tally.names))) for part in parts]
    made = [[part.of_sets(counts_RN) for part in parts] for counts_RN in resampled(rows, seed=seed)]
    return [np.concatenate(each) for each in zip(*made, strict=True)]


def _rivals(found: Mapping[str, tuple[_Part, np.ndarray]], task: Labelled, whole: float, drawn_R: np.ndarray) -> dict[str, _Rival]:
    """Each baseline, with its figures on the resamples, against the model's headline figure: `whole`, and on the same resamples [R].

    A figure that a baseline does not define counts as 0: a constant has no correlation with anything.
    """
    headline, made = task.headline[0], {}
    for name, (part, drawn_RF) in found.items():
        other_R = drawn_RF[:, part.tally.names.index(headline)] if headline in part.whole else np.zeros_like(drawn_R)
        called, value = _CALLED.get(task.kind, {}).get(name, name), part.whole.get(headline, 0.0)
        low, high = interval(drawn_R - other_R, whole - value, part.tally.rows, within=None) or (0.0, 0.0)
        separable = part.tally.rows >= FEWEST and (low > 0 or high < 0)
        made[name] = _Rival(called, value, (low, high), separable, headline in ERRORS)
    return made


def _difference(rival: _Rival, figure: str) -> dict[str, Any]:
    return {"figure": figure, "difference": list(rival.difference), "separable": rival.separable}


def _seen(columns: Columns, task: Labelled, overlap_N: np.ndarray) -> dict[str, _Part]:
    """Headline figures on the rows that training never showed, and on those that it did."""

    def part(chosen_N: np.ndarray) -> _Part:
        return _Part.of({name: values[chosen_N] for name, values in columns.items()}, task, task.headline, chosen_N)

    return {"without": part(~overlap_N), "overlap_only": part(overlap_N)}


def _leakage(parts: Mapping[str, _Part], drawn: Mapping[str, np.ndarray], everything: Sequence[Any], overlap: int) -> dict[str, Any]:
    """everything: headline figures on all rows, and their intervals."""
    return {
        "overlap_rows": overlap,
        "with": everything[0],
        **{name: part.whole for name, part in parts.items()},
        "intervals": {"with": everything[1], **{name: part.ends(drawn[name]) for name, part in parts.items()}},
    }


def _verdict(figures: Mapping[str, float], between: Sequence[float] | None, *, rows: int, headline: str, rivals: Sequence[_Rival]) -> str:
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
