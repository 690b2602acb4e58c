"""Who goes on: every arm learns with its first seed; then the leader gets its other seeds, and of the others those that may still change
who comes first.

A rung is a whole training by the arm's own schedule, so nobody is judged by a rate that has not come down yet; within the first rung a run
that still learns is ended only where not even a generous credit would bring it to the leader (`arms_curtail`). Arms are compared on the
validation rows, which no arm learns from. One stops where a paired test to one side puts it below the leader, or where its other seeds are
not worth their time (`evaluation.racing`): that it is worse is then not said. Test rows decide nothing here.
Successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943, who drop a half at each rung whatever the difference; racing by tests:
Maron and Moore 1997.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rootstock import catalog
from rootstock.core import artifact, aside
from rootstock.core.errors import Interrupted
from rootstock.core.figures import ERRORS
from rootstock.core.watch import Event, Watch
from rootstock.evaluation.paired import Drawn, draw
from rootstock.evaluation.racing import CHANCE, WORTH, Apart, apart, following, spread
from rootstock.verbs import api, arms_on_ray, arms_unit
from rootstock.verbs.arms import SCRATCH_ARM, Arm
from rootstock.verbs.arms_curtail import ALPHA
from rootstock.verbs.arms_settle import Settled
from rootstock.verbs.arms_unit import Unit

PART = "part of the first seed"
"""After what an arm stopped that was ended while it learned; others stop after a number of seeds."""
BEATEN, UNLIKELY = "beaten", "unlikely"
"""Why an arm stopped: rows and seeds put it below the leader; or they do not, but other seeds would hardly bring it to the first place."""
_OVER = "the budget of {minutes:g} minutes is used up"
_EVERY = 10.0
"""Seconds after which the time that a training takes is written down again: what a kill leaves uncounted once its events come."""


@dataclass
class Race:
    """How a comparison went. stops: by (arm, rows), why it learned with no further seed.

    left: trainings that were not run, with the reason. failed: by (arm, rows), why a training broke.
    counts: by (arm, rows), the seeds that are in the race so far: who goes on with a comparison judges again in the same order.
    end: time.monotonic() from which on nothing more is learned. before, since: the seconds that went before this start, and when it was.
    """

    settled: Settled
    watch: Watch
    stops: dict[tuple[str, int | None], dict[str, Any]] = field(default_factory=dict)
    failed: dict[tuple[str, int | None], str] = field(default_factory=dict)
    left: list[tuple[Unit, str]] = field(default_factory=list)
    counts: dict[tuple[str, int | None], int] = field(default_factory=dict)
    end: float = math.inf
    before: float = 0.0
    since: float = 0.0
    _drawn: dict[tuple[str, int | None], Drawn] = field(default_factory=dict)

    def run(self) -> None:
        """All rungs: every seed, and in it every number of rows, the most first."""
        plan, self.before = self.settled.plan, self.settled.state["spent"]
        self.since = time.monotonic() if self.before else self.watch.started
        self.end = math.inf if plan.minutes is None else self.since + 60 * plan.minutes - self.before
        seeds = 1 if plan.halving else plan.seeds  # who gets more follows from what the first ones gave
        self._ahead([self.settled.unit(arm, rows, seed) for seed in range(seeds) for rows in self.settled.points for arm in self.order()])
        if not plan.halving:
            for seed in range(plan.seeds):
                for rows in self.settled.points:
                    for arm in self.order():
                        self._timed(self.settled.unit(arm, rows, seed))
            return
        for follows in (self._first, self._next):  # all points have their first seeds before one has more
            for rows in self.settled.points:
                while (turn := follows(rows)) is not None:
                    self._timed(self.settled.unit(turn, rows, len(self.done(turn, rows))))
                    self._revive(rows)
                    if follows == self._next or self._first(rows) is None:
                        self._judge(rows)

    def _timed(self, unit: Unit) -> None:
        """One training, and what it took written down, also of one that was stopped."""
        try:
            self._one(unit)
        finally:
            self._spent()

    def _spent(self) -> None:
        self.settled.state["spent"] = self.before + time.monotonic() - self.since
        self.settled.save()

    def _heard(self, event: Event) -> None:
        """Pass an event of a training on. The time is written down with it now and then: a kill would take that of the training with it."""
        if self.before + time.monotonic() - self.since > self.settled.state["spent"] + _EVERY:
            self._spent()
        self.watch.event(event)

    def _ahead(self, units: Sequence[Unit]) -> None:
        """With Ray, those of these trainings that are still to be done run side by side; the race then finds their facts."""
        if self.settled.plan.engine != "ray":
            return
        for unit in units if not self.settled.plan.halving else ():
            unit.forget_stop()
        arms_on_ray.ahead([unit for unit in units if unit.facts is None], self.watch)

    def _open(self, rows: int | None) -> list[Arm]:
        """Racing arms that there is time for."""
        late = {(unit.arm.key, unit.rows) for unit, _ in self.left}
        return [arm for arm in self.racing(rows) if (arm.key, rows) not in late]

    def _first(self, rows: int | None) -> Arm | None:
        """The next arm that has not learned from so many rows."""
        held = {arm.key for arm in self._open(rows)}
        return next((arm for arm in self.order() if arm.key in held and not self.done(arm, rows)), None)

    def _next(self, rows: int | None) -> Arm | None:
        """The next arm that lacks a seed: the leader, then who lies nearest to it."""
        if (arm := self._first(rows)) is not None:  # one that was revived
            return arm
        held = {arm.key: arm for arm in self._open(rows)}
        found = {key: self.drawn(arm, rows) for key, arm in held.items()}
        if not found:
            return None
        sign = self.sign(next(iter(held.values())), rows)
        names = following(found, seeds=self.settled.plan.seeds, sign=sign)
        return held[names[0]] if names else None

    def _revive(self, rows: int | None) -> None:
        """Arms that were stopped by one that has failed since race again where they were, as nothing else speaks against them."""
        broken = {arm.name for arm in self.settled.arms if (arm.key, rows) in self.failed}
        found = [arm for arm in self.settled.arms if self.stops.get((arm.key, rows), {}).get("leader") in broken]
        for arm in found:
            leader = self.stops.pop((arm.key, rows))["leader"]
            for seed in range(self.settled.plan.seeds):
                self.settled.unit(arm, rows, seed).forget_stop()
            self.counts[arm.key, rows] = len(self.done(arm, rows))
            self._drawn.pop((arm.key, rows), None)
            self.watch.say(f"compare   {arm.name} goes on, as {leader}, which had been ahead of it, failed")

    def order(self) -> list[Arm]:
        """A frozen base is quick and gives a leader soon; random weights come last, as they are likeliest to be beaten."""

        def place(arm: Arm) -> tuple[bool, bool]:
            method = catalog.find("methods", arm.changes["method.name"])
            return arm.method == SCRATCH_ARM, not method.frozen

        return sorted(self.settled.arms, key=place)

    def done(self, arm: Arm, rows: int | None) -> list[Unit]:
        """The trainings of an arm that ended well and are in the race, by seed from 0 on."""
        units = (self.settled.unit(arm, rows, seed) for seed in range(self.counts.get((arm.key, rows), 0)))
        found = []
        for unit in units:
            facts = unit.facts
            if facts is None or "failed" in facts:
                break
            found.append(unit)
        return found

    def racing(self, rows: int | None) -> list[Arm]:
        """Arms that were neither stopped nor failed here."""
        return [arm for arm in self.settled.arms if (arm.key, rows) not in self.stops and (arm.key, rows) not in self.failed]

    def leader(self, rows: int | None, seeds: int | None = None) -> Arm | None:
        """Of the racing arms the best on the validation rows, each by the seeds that it has; or of those with so many seeds, by these."""
        held = [arm for arm in self.racing(rows) if len(self.done(arm, rows)) >= (seeds or 1)]

        def place(arm: Arm) -> float:
            drawn = self.drawn(arm, rows)
            return self.sign(arm, rows) * (drawn.first(seeds) if seeds else drawn).mean

        return max(held, key=place, default=None)

    def winner(self, rows: int | None) -> Arm | None:
        """The best on the validation rows over the seeds that all racing arms have: means over unlike seeds are not compared."""
        return self.leader(rows, seeds) if (seeds := self.shared(rows)) else None

    def shared(self, rows: int | None) -> int:
        """How many seeds every racing arm has that learned at all; fewer than were asked for where there was no time for them."""
        return min((len(found) for arm in self.racing(rows) if (found := self.done(arm, rows))), default=0)

    def drawn(self, arm: Arm, rows: int | None) -> Drawn:
        """The leading figure of an arm on the validation rows, by seed, and on resamples of them."""
        units, known = self.done(arm, rows), self._drawn.get((arm.key, rows))
        if known is None or len(known.whole) != len(units):
            answers = [unit.answers("validation") for unit in units]
            known = self._drawn[arm.key, rows] = draw(answers, answers[0].task.headline[0], seed=0)
        return known

    def sign(self, arm: Arm, rows: int | None) -> float:
        """-1 where less of the leading figure is better."""
        return -1.0 if self.done(arm, rows)[0].figure in ERRORS else 1.0

    def _one(self, unit: Unit) -> None:
        """One training, unless its arm is out of the race or there is no time for it; told in a line."""
        key = unit.arm.key, unit.rows
        if key in self.stops or key in self.failed:
            return
        if not self.settled.plan.halving:
            unit.forget_stop()
        facts = unit.facts or self._carried_out(unit)
        if facts is None:
            return
        if "failed" in facts:
            self.failed[key] = facts["failed"]
            artifact.remove(unit.run)
            return self.watch.say(f"compare   {unit.spoken}: failed, {facts['failed']}")
        self.counts[key] = unit.seed + 1
        aside.gone(self.settled.folder)
        self._tidy(unit, facts)  # also where it ended before, on Ray or in a process that was killed just then
        if facts.get("stopped"):
            self.stops[key] = {"after": PART, **facts["stopped"]}
        figure = unit.figure
        told = f"{figure} {facts['metrics']['validation'].get(figure, float('nan')):.4f} on validation rows, {facts['seconds']:,.0f} s"
        ended = f", ended at {facts['stopped']['share']:.0%} as beaten by {facts['stopped']['leader']}" if facts.get("stopped") else ""
        return self.watch.say(f"compare   {unit.spoken}: {told}{ended}")

    def _carried_out(self, unit: Unit) -> dict[str, Any] | None:
        """The facts of a training that is carried out now; None where there is no time for it, which is noted."""
        if self.watch.stop():
            raise Interrupted(f"stopped before {unit.spoken}", fix=api.AGAIN)
        done, over = self.done(unit.arm, unit.rows), _OVER.format(minutes=self.settled.plan.minutes or 0)
        expected = max((each["wall"] for one in done if (each := one.facts)), default=self.settled.expected(unit.arm, unit.rows))
        if time.monotonic() + expected > self.end:
            self._leave(unit, over)
            return None

        def late() -> bool:
            return time.monotonic() > self.end

        heard = Watch(event=self._heard, stop=lambda: self.watch.stop() or late())
        try:
            return arms_unit.carried_out(unit, heard, self._rival(unit))
        except Interrupted:
            if self.watch.stop() or not late():
                raise
            self._leave(unit, f"{over} before it had ended")
            return None

    def _leave(self, unit: Unit, why: str) -> None:
        """Note that a training is not run, and with halving that the arm's later ones are not: nobody comes back to it."""
        last = self.settled.plan.seeds if self.settled.plan.halving else unit.seed + 1
        self.left += [(self.settled.unit(unit.arm, unit.rows, seed), why) for seed in range(unit.seed, last)]

    def _rival(self, unit: Unit) -> Mapping[str, Any] | None:
        """The leader as it may end a first training early."""
        if not self.settled.plan.halving or unit.seed or (leader := self.leader(unit.rows, 1)) is None:
            return None
        first = self.done(leader, unit.rows)[0]
        facts = first.facts or {}
        path = first.stem.with_suffix(".validation.safetensors")
        told = {"name": leader.name, "answers": str(path), "task": facts["task"], "trajectory": facts["trajectory"]}
        told["schedule"] = [facts["settings"]["training"][key] for key in ("schedule", "warmup")]
        return told | {"constant": self.settled.state["constants"][arms_unit.cell(unit.rows, 0)]}

    def _tidy(self, unit: Unit, facts: Mapping[str, Any]) -> None:
        """Of the runs only those stay that may be kept in the end: of each arm the best on the validation rows."""
        if self.settled.plan.keep and unit.rows == self.settled.points[0] and not facts.get("stopped"):
            best = self.best(unit.arm, unit.rows)
            for each in self.done(unit.arm, unit.rows):
                if each.seed != best.seed:
                    artifact.remove(each.run)
        else:
            artifact.remove(unit.run)

    def best(self, arm: Arm, rows: int | None) -> Unit:
        """The training of an arm that did best on the validation rows."""
        drawn, sign = self.drawn(arm, rows), self.sign(arm, rows)
        units = self.done(arm, rows)
        return max(units, key=lambda unit: sign * float(drawn.whole[unit.seed]))

    def _judge(self, rows: int | None) -> None:
        """Stop the arms that the validation rows put below the leader, and those that more seeds would hardly bring before it."""
        leader, plan = self.leader(rows), self.settled.plan
        if leader is None:
            return
        told = spread([self.drawn(arm, rows) for arm in self.settled.arms if self._whole(arm, rows)])
        if told is None:  # by rows alone a lucky seed would put whoever is nearly as good below; the leader's next one comes first anyway
            return
        ahead, sign = self.drawn(leader, rows), self.sign(leader, rows)
        constant = self.settled.state["constants"][arms_unit.cell(rows, 0)]
        for arm in self.racing(rows):
            seeds = len(self.done(arm, rows))
            if arm is leader or not 0 < seeds < plan.seeds:
                continue
            found = apart(self.drawn(arm, rows), ahead, seeds=plan.seeds, told=told, sign=sign)
            if (why := self._why(found, worth=WORTH * sign * (ahead.mean - constant))) is None:
                continue
            low, high = sorted(sign * end for end in found.interval)
            facts = {"leader": leader.name, "difference": sign * found.value, "interval": [low, high], "p": found.below, "reason": why}
            if why == UNLIKELY:
                facts |= {"chance": found.chance, "worth": found.worth, "seeds": plan.seeds}
            self.stops[arm.key, rows] = {"after": seeds, **facts}
            for unit in self.done(arm, rows):
                artifact.remove(unit.run)
            self.watch.say(f"compare   {arm.name} with {rows or 'all'} rows is stopped: {_spoken(facts)}")

    def _whole(self, arm: Arm, rows: int | None) -> bool:
        """Whether it has learned, and to its end: of one that was ended while it learned seeds are not alike."""
        return bool(self.done(arm, rows)) and self.stops.get((arm.key, rows), {}).get("after") != PART

    @staticmethod
    def _why(found: Apart, *, worth: float) -> str | None:
        """Why an arm that lies so stops; None where it goes on. Beside a leader that has learned nothing no seeds are worth too little."""
        if found.below < ALPHA:
            return BEATEN
        return UNLIKELY if worth > 0 and found.chance <= CHANCE and found.worth <= worth else None


def _spoken(facts: Mapping[str, Any]) -> str:
    behind = f"{facts['difference']:+.4f} behind {facts['leader']} on the validation rows"
    if facts["reason"] == BEATEN:
        return behind
    return f"{behind}, which they do not tell apart, but other seeds would bring it first by a chance of {facts['chance']:.0%}"
