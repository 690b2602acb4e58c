"""A user's own task in each layer: a linear probe on frozen vectors beside a control task, and where freezing may end.

The control task (Hewitt & Liang 2019, arXiv:1909.03368) gives each first word one answer, drawn from the true ones: what the probe reads
there it learned by heart. Selectivity is its figure on the task minus that.
Shape letters: L layers with the embeddings, N rows, G groups of rows of equal texts, R resamples, H width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rootstock.core.seed import derive
from rootstock.evaluation import intervals
from rootstock.evaluation.frozen import Labels, probe
from rootstock.evaluation.probes import pos

_RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """The share of right classes, or R² of numbers, on all rows and on resamples [R] of the groups; equal seeds draw equal groups.

    groups: how many. within: its limits.
    """

    value: float
    drawn: np.ndarray
    groups: int
    within: intervals.Limits

    @property
    def told(self) -> dict[str, Any]:
        """With its interval at 95 %, as JSON."""
        between = intervals.interval(self.drawn, self.value, self.groups, within=self.within) or (self.value, self.value)
        return {"value": self.value, "interval": list(between)}

    def over(self, other: "Figure") -> dict[str, Any]:
        """This minus another, on the same resamples."""
        apart = self.value - other.value
        low, high = intervals.interval(self.drawn - other.drawn, apart, self.groups, within=None) or (0.0, 0.0)
        return {"value": apart, "interval": [low, high]}


class Judge:
    """Makes figures of answers to the same rows, on the same resamples of their groups."""

    def __init__(self, labels: Labels) -> None:
        groups, self.back = np.unique(labels.groups, return_inverse=True)
        rng = np.random.default_rng(derive(labels.seed, "own"))
        drawn_RG = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), _RESAMPLES)
        self.weights, self.labels = np.concatenate([np.ones((1, len(groups))), drawn_RG]), labels

    def figure(self, scores: np.ndarray, answers: np.ndarray) -> Figure:
        """Of scores [N, C] or [N, 1] against answers [N]."""
        if self.labels.classes:
            found_R = self._sums(scores.argmax(1) == answers) / self._sums(np.ones(len(answers)))
            return Figure(float(found_R[0]), found_R[1:], self.weights.shape[1], (0.0, 1.0))
        answers = np.asarray(answers, np.float64)
        spread_R = self._sums(answers**2) - self._sums(answers) ** 2 / self._sums(np.ones(len(answers)))
        found_R = 1 - self._sums((scores[:, 0] - answers) ** 2) / np.maximum(spread_R, np.finfo(float).tiny)
        return Figure(float(found_R[0]), found_R[1:], self.weights.shape[1], None)

    def _sums(self, each_N: np.ndarray) -> np.ndarray:
        """Over all rows first, then over each resample, [1 + R]."""
        return np.asarray(self.weights @ np.bincount(self.back, np.asarray(each_N, np.float64), self.weights.shape[1]))


@dataclass(frozen=True)
class Layered:
    """A layer each: the figure of the probe, that of the control task, and the probe's loss on rows that chose its strength."""

    task: Sequence[Figure]
    control: Sequence[Figure]
    losses: Sequence[float]

    @property
    def best(self) -> int:
        """The layer of least loss on the rows that chose: chosen by the figure itself, it would flatter."""
        return int(np.argmin(self.losses))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As JSON. below: how far the best layer lies over this one."""
        best = self.task[self.best]
        return [
            {
                "layer": number,
                "dev": {"loss": loss},
                "score": task.told,
                "control": control.told,
                "selectivity": task.over(control),
                "below": best.over(task),
            }
            for number, (task, control, loss) in enumerate(zip(self.task, self.control, self.losses, strict=True))
        ]


def measure(vectors: Sequence[np.ndarray], labels: Labels, words: Sequence[str], told: Callable[[int, int], None]) -> Layered:
    """Probe and control task on every layer's vectors [N, H]. words: the first of each text. told: layers done and in all."""
    judge, other = Judge(labels), replace(labels, answers=pos.control(words, labels.answers, labels.seed))
    found: tuple[list[Figure], list[Figure], list[float]] = ([], [], [])
    for number, layer_NH in enumerate(vectors, 1):
        task, control = probe(layer_NH, labels), probe(layer_NH, other)
        found[0].append(judge.figure(task.scores, labels.answers))
        found[1].append(judge.figure(control.scores, other.answers))
        found[2].append(task.loss)
        told(number, len(vectors))
    return Layered(*found)


def simplest(labels: Labels) -> Figure:
    """Always the most frequent class, or the mean: what a probe has to beat."""
    answers = labels.answers
    if labels.classes:
        said = np.bincount(answers, minlength=labels.classes).argmax()
        scores = np.eye(labels.classes)[np.full(len(answers), said)]
    else:
        scores = np.full((len(answers), 1), np.mean(answers, dtype=np.float64))
    return Judge(labels).figure(scores, answers)


@dataclass(frozen=True)
class Freeze:
    """Blocks that are to stay as they are, counted from 0, all from the lowest up; decided: whether these rows tell. reason: a sentence."""

    frozen: tuple[int, ...]
    trained: tuple[int, ...]
    decided: bool
    reason: str


RULE = (
    "freeze all blocks up to the lowest layer from which on, up to the best, no layer's probe is separably below the best's; "
    "train those above it"
)


def freeze(found: Layered, floor: Figure, blocks: int) -> Freeze:
    """Where freezing may end, by `RULE`. floor: the simplest answer's figure. blocks: of the whole model; a decoder's learn in any case.

    What the task reads is there, as far as a line can tell, once that layer has passed: blocks above it add nothing yet, and are the ones
    to be bent to the task. Not decided where the best layer is no better than the simplest answer, where no layer is told from it (or the
    best is the embeddings), and where every layer but the last is below it.
    """
    every, top, best = tuple(range(blocks)), len(found.task) - 1, found.best
    apart = [found.task[best].over(each)["interval"][0] > 0 for each in found.task]
    lowest = max([number + 1 for number, below in enumerate(apart[:best]) if below], default=0)
    name = f"layer {best} ({found.task[best].value:.3f})"
    if found.task[best].over(floor)["interval"][0] <= 0:
        return Freeze((), every, False, f"not decided: the best, {name}, is not above the simplest answer ({floor.value:.3f})")
    if lowest == 0:
        return Freeze((), every, False, f"not decided: these rows tell no layer below the best from it, {name}; more rows may")
    if lowest >= top or top > blocks:
        return Freeze((), every, False, f"not decided: the probe rises up to the last block, {name}: none above adds nothing")
    gap, under = found.task[best].over(found.task[lowest]), found.task[best].over(found.task[lowest - 1])
    same = (
        "is the best itself" if lowest == best else f"is the lowest from which on none is separably below the best, {name}: {_spelled(gap)}"
    )
    reason = f"layer {lowest} ({found.task[lowest].value:.3f}) {same}; the one below it is: {_spelled(under)}"
    return Freeze(every[:lowest], every[lowest:], True, reason)


def _spelled(gap: dict[str, Any]) -> str:
    return f"by {gap['value']:.3f} ({gap['interval'][0]:.3f} to {gap['interval'][1]:.3f})"
