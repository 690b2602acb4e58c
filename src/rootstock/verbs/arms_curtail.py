"""Whether a run that still learns can be ended as beaten: only where not even a straight line on would bring it to the leader.

The best state so far, by its answers on the validation rows, is compared with the leader at its end, which would be unfair to whoever
learns slowly or comes to its best rates last. So the run is given credit: what it would gain if it went on as steeply as it did in the last
half of its way, though curves of learning bend; and what the leader itself still gained from this share of its training on. It is beaten
where even so a paired test puts it below. One that has not yet left the constant answer has no way to go on from: it is taken to begin now,
and to learn as the leader did from its own beginning, with as much of the schedule as is left. Before half of a training nobody is judged.
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
from rootstock.evaluation.intervals import FEWEST
from rootstock.evaluation.paired import Answered, Drawn, difference, draw
from rootstock.loop.history import read
from rootstock.loop.schedule import course
from rootstock.verbs import kept_answers

EARLIEST = 0.5
"""Share of the training before which no run is judged by a comparison with one that has ended."""
ALPHA = 0.05
"""Of each test that may stop an arm, to one side."""
RESAMPLES = 300
_DECISION, _BEST = ".stopped.json", ".best.safetensors"
"""What the names of files beside the answers end in."""
_BEGUN = 0.1
"""Of the way from the constant answer to the leader: who has gone less has not begun to learn; and who would end as much below the leader
where it began now is beaten."""
_USUAL = ("linear", 0.0)


@dataclass(frozen=True)
class Rival:
    """The leader at its end. answers: on the validation rows. trajectory: [share of the training, figure] of its evaluations.

    constant: the figure of always the same answer. schedule: of its rate, and the share that warms up.
    """

    name: str
    answers: Answered
    trajectory: tuple[tuple[float, float], ...]
    constant: float
    schedule: tuple[str, float] = _USUAL

    @property
    def figure(self) -> str:
        """The leading one of the task."""
        return self.answers.task.headline[0]

    @property
    def sign(self) -> float:
        """-1 where less of the figure is better."""
        return -1.0 if self.figure in ERRORS else 1.0

    @classmethod
    def read(cls, told: Mapping[str, Any], groups_N: np.ndarray) -> Self:
        """As a parent tells a child: the answers as a file, the rest as JSON. groups_N: which validation rows are one."""
        answers = kept_answers.read(Path(told["answers"]), told["task"]).grouped(groups_N)
        trajectory = tuple((share, figure) for share, figure in told["trajectory"])
        return cls(told["name"], answers, trajectory, told["constant"], tuple(told["schedule"]))

    def beginning(self, left: float) -> float | None:
        """The best figure that it had by its first evaluation after so much of its schedule, in [0, 1]; None where it had none by then."""
        shares, behind = course(*self.schedule)
        share = float(np.interp(left, behind, shares))
        last = next((place for place, (at, _) in enumerate(self.trajectory) if at >= share), None)
        return None if last is None else self.sign * max(self.sign * figure for _, figure in self.trajectory[: last + 1])


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
    schedule: of its rate, and the share that warms up.
    """

    def __init__(self, rival: Rival | None, stem: Path, history: Path, *, schedule: tuple[str, float] = _USUAL) -> None:
        self._rival, self._stem, self._share, self._schedule = rival, stem, 0.0, schedule
        kept = stem.with_suffix(_DECISION)
        self._latest: Columns = {}
        before = stem.with_suffix(_BEST)
        self._best = self._answered(rival, kept_answers.columns(before)) if rival and before.exists() else None
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
            self._best = self._answered(self._rival, self._latest)
            kept_answers.write(self._stem.with_suffix(_BEST), self._latest)
        if EARLIEST <= self._share < 1 and (told := self._judge(self._rival, self._best)):
            self.facts = told | {"step": event["step"]}
            artifact.write_json(self._stem.with_suffix(_DECISION), self.facts)

    @staticmethod
    def _answered(rival: Rival, columns: Columns) -> Answered:
        """Answers on the rows that the rival answered, in their order: those of equal texts are one there as well."""
        found, groups_N = Answered(columns, rival.answers.task), rival.answers.groups
        return found if groups_N is None else found.grouped(groups_N)

    def forget(self) -> None:
        """Remove the answers of the best state: those of the run that has ended stand beside them."""
        self._stem.with_suffix(_BEST).unlink(missing_ok=True)

    def _judge(self, rival: Rival, best: Answered) -> dict[str, Any]:
        """What is to be told of a run that is beaten; nothing of one that is not."""
        figure, now, end = rival.figure, best.figure(rival.figure), rival.answers.figure(rival.figure)
        told = {"share": round(self._share, 4), "figure": figure, "value": now, "leader": rival.name, "leader_value": end}
        if rival.sign * (now - rival.constant) < _BEGUN * rival.sign * (end - rival.constant):
            late = self._late(rival, best)
            return {} if late is None else told | {"credit": rival.sign * (late - now)}
        credit = self.credit(rival)
        mine, theirs = (draw([each], figure, seed=0, resamples=RESAMPLES) for each in (best, rival.answers))
        hoped = Drawn(rival.sign * mine.whole + credit, rival.sign * mine.resampled + credit, mine.rows)
        found = difference(hoped, Drawn(rival.sign * theirs.whole, rival.sign * theirs.resampled, theirs.rows))
        if found.below >= ALPHA:
            return {}
        return told | {"credit": credit, "p": found.below}

    def _late(self, rival: Rival, best: Answered) -> float | None:
        """Where a run that has not begun to learn would end if it began now, where that is far below the leader; else None.

        A leader that is itself no better than the constant answer shows nothing of how fast these rows are learned.
        """
        shares, behind = course(*self._schedule)
        reached = rival.beginning(1 - float(np.interp(self._share, shares, behind)))
        end = rival.answers.figure(rival.figure)
        way = rival.sign * (end - rival.constant)
        if reached is None or way <= 0 or best.independent < FEWEST:
            return None
        return reached if rival.sign * (end - reached) > _BEGUN * way else None

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
