"""Who goes on: every arm learns with its first seed, those that are beaten stop, the others get the next seed, and so on (halving).

A rung is a whole training by the arm's own schedule, so nobody is judged by a rate that has not come down yet; within the first rung a run
that still learns is ended only where not even a generous credit would bring it to the leader (`arms_curtail`). Arms are compared on the
validation rows, which no arm learns from, by a paired test to one side. Successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943,
who drop a half at each rung whatever the difference; racing by tests: Maron and Moore 1997. Test rows decide nothing here.
"""

import math
import shutil
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rootstock import catalog
from rootstock.core.errors import Interrupted
from rootstock.core.figures import ERRORS
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Drawn, difference, draw
from rootstock.verbs import api, arms_unit
from rootstock.verbs.arms import SCRATCH_ARM, Arm
from rootstock.verbs.arms_curtail import ALPHA
from rootstock.verbs.arms_settle import Settled
from rootstock.verbs.arms_unit import Unit

PART = "part of the first seed"
"""After what an arm stopped that was ended while it learned; others stop after a number of seeds."""
_OVER = "the budget of {minutes:g} minutes is used up"


@dataclass
class Race:
    """How a comparison went. stops: by (arm, rows), why it learned with no further seed.

    left: trainings that were not run, with the reason. failed: by (arm, rows), why a training broke. revived: stopped by one that broke.
    end: time.monotonic() from which on nothing more is learned.
    """

    settled: Settled
    watch: Watch
    stops: dict[tuple[str, int | None], dict[str, Any]] = field(default_factory=dict)
    failed: dict[tuple[str, int | None], str] = field(default_factory=dict)
    left: list[tuple[Unit, str]] = field(default_factory=list)
    revived: set[tuple[str, int | None]] = field(default_factory=set)
    end: float = math.inf
    _drawn: dict[tuple[str, int | None], Drawn] = field(default_factory=dict)

    def run(self) -> None:
        """All rungs: every seed, and in it every number of rows, the most first."""
        plan, before = self.settled.plan, self.settled.state["spent"]
        since = time.monotonic() if before else self.watch.started
        self.end = math.inf if plan.minutes is None else since + 60 * plan.minutes - before
        for seed in range(plan.seeds):
            for rows in self.settled.points:
                waiting = deque(self.order())
                while waiting:
                    arm = waiting.popleft()
                    first = min(len(self.done(arm, rows)), seed) if (arm.key, rows) in self.revived else seed
                    for each in range(first, seed + 1):
                        try:
                            self._one(self.settled.unit(arm, rows, each))
                        finally:  # what a training took that was stopped is spent as well
                            self.settled.state["spent"] = before + time.monotonic() - since
                            self.settled.save()
                    waiting += self._revived(rows)
                if plan.halving:
                    self._judge(rows, seed + 1)

    def _revived(self, rows: int | None) -> list[Arm]:
        """Arms that were stopped by one that has failed since: they race again where they were, as nothing else speaks against them."""
        broken = {arm.name for arm in self.settled.arms if (arm.key, rows) in self.failed}
        found = [arm for arm in self.settled.arms if self.stops.get((arm.key, rows), {}).get("leader") in broken]
        for arm in found:
            leader = self.stops.pop((arm.key, rows))["leader"]
            self.revived.add((arm.key, rows))
            for seed in range(self.settled.plan.seeds):
                self.settled.unit(arm, rows, seed).forget_stop()
            self._drawn.pop((arm.key, rows), None)
            self.watch.say(f"compare   {arm.name} goes on, as {leader}, which had beaten it, failed")
        return found

    def order(self) -> list[Arm]:
        """A frozen base is quick and gives a leader soon; random weights come last, as they are likeliest to be beaten."""

        def place(arm: Arm) -> tuple[bool, bool]:
            method = catalog.find("methods", arm.changes["method.name"])
            return arm.method == SCRATCH_ARM, not method.frozen

        return sorted(self.settled.arms, key=place)

    def done(self, arm: Arm, rows: int | None) -> list[Unit]:
        """The trainings of an arm that ended well, by seed from 0 on."""
        units = (self.settled.unit(arm, rows, seed) for seed in range(self.settled.plan.seeds))
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

    def leader(self, rows: int | None, seeds: int) -> Arm | None:
        """Of the racing arms with so many seeds, the best on the validation rows."""
        held = [arm for arm in self.racing(rows) if len(self.done(arm, rows)) >= seeds]
        return max(held, key=lambda arm: self.sign(arm, rows) * self.drawn(arm, rows).first(seeds).mean, default=None)

    def winner(self, rows: int | None) -> Arm | None:
        """The best on the validation rows, over as many seeds as every racing arm has that learned at all."""
        counts = [len(found) for arm in self.racing(rows) if (found := self.done(arm, rows))]
        return self.leader(rows, min(counts)) if counts else None

    def drawn(self, arm: Arm, rows: int | None) -> Drawn:
        """The leading figure of an arm on the validation rows, by seed, and on resamples of them."""
        units, known = self.done(arm, rows), self._drawn.get((arm.key, rows))
        if known is None or len(known.whole) != len(units):
            answers = [unit.answers("validation") for unit in units]
            known = self._drawn[arm.key, rows] = draw(answers, answers[0].task.headline[0], seed=0)
        return known

    def sign(self, arm: Arm, rows: int | None) -> float:
        """-1 where less of the leading figure is better."""
        return -1.0 if self.done(arm, rows)[0].answers("validation").task.headline[0] in ERRORS else 1.0

    def _one(self, unit: Unit) -> None:
        """One training, unless its arm is out of the race or there is no time for it; told in a line."""
        key = unit.arm.key, unit.rows
        if key in self.stops or key in self.failed:
            return
        if not self.settled.plan.halving:
            unit.forget_stop()
        facts = unit.facts
        if facts is None and (facts := self._carried_out(unit)) is None:
            return
        if "failed" in facts:
            self.failed[key] = facts["failed"]
            return self.watch.say(f"compare   {unit.spoken}: failed, {facts['failed']}")
        if facts.get("stopped"):
            self.stops[key] = {"after": PART, **facts["stopped"]}
        figure = next(iter(unit.answers("validation").task.headline))
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
            self.left.append((unit, over))
            return None

        def late() -> bool:
            return time.monotonic() > self.end

        heard = Watch(event=self.watch.event, stop=lambda: self.watch.stop() or late())
        try:
            facts = arms_unit.carried_out(unit, heard, self._rival(unit))
        except Interrupted:
            if self.watch.stop() or not late():
                raise
            self.left.append((unit, f"{over} before it had ended"))
            return None
        self._tidy(unit, facts)
        return facts

    def _rival(self, unit: Unit) -> Mapping[str, Any] | None:
        """The leader as it may end a first training early."""
        if not self.settled.plan.halving or unit.seed or (leader := self.leader(unit.rows, 1)) is None:
            return None
        first = self.done(leader, unit.rows)[0]
        facts = first.facts or {}
        path = first.stem.with_suffix(".validation.safetensors")
        told = {"name": leader.name, "answers": str(path), "task": facts["task"], "trajectory": facts["trajectory"]}
        return told | {"constant": self.settled.state["baselines"][arms_unit.cell(unit.rows, 0)].get("majority", 0.0)}

    def _tidy(self, unit: Unit, facts: Mapping[str, Any]) -> None:
        """Of the runs only those stay that may be kept in the end: of each arm the best on the validation rows."""
        if self.settled.plan.keep and unit.rows == self.settled.points[0] and "failed" not in facts and not facts.get("stopped"):
            best = self.best(unit.arm, unit.rows)
            for each in self.done(unit.arm, unit.rows):
                if each.seed != best.seed:
                    shutil.rmtree(each.run, ignore_errors=True)
        else:
            shutil.rmtree(unit.run, ignore_errors=True)

    def best(self, arm: Arm, rows: int | None) -> Unit:
        """The training of an arm that did best on the validation rows."""
        drawn, sign = self.drawn(arm, rows), self.sign(arm, rows)
        units = self.done(arm, rows)
        return max(units, key=lambda unit: sign * float(drawn.whole[unit.seed]))

    def _judge(self, rows: int | None, seeds: int) -> None:
        """Stop the arms that a paired test on the validation rows puts below the leader after so many seeds."""
        leader = self.leader(rows, seeds)
        if leader is None or seeds == self.settled.plan.seeds:
            return
        ahead, sign = self.drawn(leader, rows).first(seeds), self.sign(leader, rows)
        for arm in self.racing(rows):
            if arm is leader or len(self.done(arm, rows)) < seeds:
                continue
            behind = self.drawn(arm, rows).first(seeds)
            low = behind if sign > 0 else ahead
            found = difference(low, ahead if sign > 0 else behind)
            if found.below < ALPHA:
                value = difference(behind, ahead)
                told = {"leader": leader.name, "difference": value.value, "interval": list(value.interval), "p": found.below}
                self.stops[arm.key, rows] = {"after": seeds, **told}
                for unit in self.done(arm, rows):
                    shutil.rmtree(unit.run, ignore_errors=True)
                of = f"{arm.name} with {rows or 'all'} rows"
                self.watch.say(f"compare   {of} is stopped: {value.value:+.4f} behind {leader.name} on the validation rows")
