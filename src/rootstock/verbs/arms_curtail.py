"""Whether a run that still learns can be ended as beaten: only where not even a straight line on would bring it to the leader.

The best state so far, by its answers on the validation rows, is compared with the leader at its end, which would be unfair to whoever
learns slowly or comes to its best rates last. So the run is given credit: what it would gain if it went on as steeply as it did in the last
half of its way, though curves of learning bend; and what the leader itself still gained from this share of its training on. It is beaten
where even so a paired test puts it below. Before half of the training nobody is, nor one that has not yet left the constant answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from rootstock.core import artifact
from rootstock.core.figures import ERRORS
from rootstock.core.rows import Columns
from rootstock.core.watch import Event
from rootstock.evaluation.paired import Answered, Drawn, difference, draw
from rootstock.loop.history import read
from rootstock.verbs import kept_answers

EARLIEST = 0.5
"""Share of the training before which no run is judged by a comparison with one that has ended."""
ALPHA = 0.05
"""Of each test that may stop an arm, to one side."""
RESAMPLES = 300
_DECISION, _BEST = ".stopped.json", ".best.safetensors"
"""What the names of files beside the answers end in."""
_BEGUN = 0.1
"""Of the way from the constant answer to the leader: who has gone less has not begun to learn, and nothing can be said of where it ends."""


@dataclass(frozen=True)
class Rival:
    """The leader at its end. answers: on the validation rows. trajectory: [share of the training, figure] of its evaluations.

    constant: the figure of always the same answer.
    """

    name: str
    answers: Answered
    trajectory: tuple[tuple[float, float], ...]
    constant: float

    @property
    def figure(self) -> str:
        """The leading one of the task."""
        return self.answers.task.headline[0]

    @property
    def sign(self) -> float:
        """-1 where less of the figure is better."""
        return -1.0 if self.figure in ERRORS else 1.0

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """As a parent tells a child: the answers as a file, the rest as JSON."""
        answers = kept_answers.read(Path(told["answers"]), told["task"])
        return cls(told["name"], answers, tuple((share, figure) for share, figure in told["trajectory"]), told["constant"])


def trajectory(history: Path, figure: str) -> list[tuple[float, float]]:
    """The share of the training done and a figure on the validation rows, at each evaluation that a run has written down."""
    share, found = 0.0, []
    for event in read(history):
        share = event["progress"] if event["event"] == "step" else share
        if event["event"] == "evaluation" and figure in event:
            found.append((share, float(event[figure])))
    return found


class Curtailed:
    """Hears of a run's evaluations and says whether it is beaten.

    rival: None where nobody has ended yet, so that nobody is. stem: where the decision and the answers of the best state so far are
    written, but for what they end in, so that a run which is killed and gone on with ends at the same update. history: of the run.
    """

    def __init__(self, rival: Rival | None, stem: Path, history: Path) -> None:
        self._rival, self._stem, self._share = rival, stem, 0.0
        kept = stem.with_suffix(_DECISION)
        self._latest: Columns = {}
        before = stem.with_suffix(_BEST)
        self._best = Answered(kept_answers.columns(before), rival.answers.task) if rival and before.exists() else None
        self._met = {0.0: rival.constant, **dict(trajectory(history, rival.figure))} if rival else {}
        self.facts: dict[str, Any] = artifact.read_json(kept, wanted="a decision", fix="remove it") if kept.exists() else {}

    def enough(self, step: int) -> bool:
        """Whether the training ends after so many updates."""
        return bool(self.facts) and step >= self.facts["step"]

    def judged(self, columns: Columns) -> None:
        """Hear the answers of an evaluation; its event follows."""
        self._latest = columns

    def event(self, event: Event) -> None:
        """Hear how far the training is, and of an evaluation what it gave."""
        self._share = event["progress"] if event["event"] == "step" else self._share
        if self._rival is None or event["event"] != "evaluation" or self.facts or self._rival.figure not in event:
            return
        now = self._met[self._share] = float(event[self._rival.figure])
        if self._best is None or self._rival.sign * now > self._rival.sign * self._best.figure(self._rival.figure):
            self._best = Answered(self._latest, self._rival.answers.task)
            kept_answers.write(self._stem.with_suffix(_BEST), self._latest)
        if EARLIEST <= self._share < 1 and (told := self._judge(self._rival, self._best)):
            self.facts = told | {"step": event["step"]}
            artifact.write_json(self._stem.with_suffix(_DECISION), self.facts)

    def forget(self) -> None:
        """Remove the answers of the best state: those of the run that has ended stand beside them."""
        self._stem.with_suffix(_BEST).unlink(missing_ok=True)

    def _judge(self, rival: Rival, best: Answered) -> dict[str, Any]:
        """What is to be told of a run that is beaten; nothing of one that is not."""
        figure, now, end = rival.figure, best.figure(rival.figure), rival.answers.figure(rival.figure)
        if rival.sign * (now - rival.constant) < _BEGUN * rival.sign * (end - rival.constant):
            return {}
        credit = self.credit(rival)
        mine, theirs = (draw([each], figure, seed=0, resamples=RESAMPLES) for each in (best, rival.answers))
        hoped = Drawn(rival.sign * mine.whole + credit, rival.sign * mine.resampled + credit, mine.rows)
        found = difference(hoped, Drawn(rival.sign * theirs.whole, rival.sign * theirs.resampled, theirs.rows))
        if found.below >= ALPHA:
            return {}
        told = {"share": round(self._share, 4), "figure": figure, "value": now, "credit": credit, "p": found.below}
        return told | {"leader": rival.name, "leader_value": end}

    def credit(self, rival: Rival) -> float:
        """What may still come: a straight line on from the last half of the way, and what the leader gained from here to its end."""
        met, theirs = self._met.items(), rival.trajectory or ((1.0, 0.0),)
        gained = rival.sign * (self._reached(rival, met, self._share) - self._reached(rival, met, self._share / 2))
        steep = gained / (self._share / 2) * (1 - self._share)
        late = rival.sign * (self._reached(rival, theirs, 1.0) - self._reached(rival, theirs, self._share))
        return steep + late

    @staticmethod
    def _reached(rival: Rival, met: Iterable[tuple[float, float]], share: float) -> float:
        """The best figure that evaluations gave up to a share of the training, on a straight line between two of them."""
        shares, figures = zip(*sorted(met), strict=True)
        best = rival.sign * np.maximum.accumulate(rival.sign * np.array(figures))
        return float(np.interp(share, shares, best))
