"""What is settled before anything is spent on a comparison of methods: the parts of the rows, the arms, and that each of them can learn.

It lies in the comparison's folder as state.json: who goes on with it finds the same, or is refused.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.errors import BaseError, RecipeError, UsageError
from rootstock.core.watch import Watch
from rootstock.verbs import api, arms, arms_freeze, arms_rows, compare_place
from rootstock.verbs.arms import Arm
from rootstock.verbs.arms_plan import Plan
from rootstock.verbs.arms_rows import Parts
from rootstock.verbs.arms_unit import Unit, cell
from rootstock.verbs.compare_place import STATE

FILES = "compare.json", "compare.csv", "compare.html"
BEST = "best"
_OWN = (*FILES, STATE, BEST, "data", "runs", "answers")
_WAY = "methods"
_OVERHEAD = 12.0
"""Seconds that a run takes beside what its rehearsal counts: its process, its answers, its files."""
_SURVIVING = 0.5
"""Of the arms, in the rungs after the first, for sharing out the time."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A comparison that can be carried out. folder: where it lies. state: the content of state.json. skipped: what can't be, and why."""

    plan: Plan
    folder: Path
    state: dict[str, Any]
    parts: Parts
    arms: tuple[Arm, ...]
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def points(self) -> tuple[int | None, ...]:
        """Rows that learn, the most first; None is all."""
        return self.parts.points(self.plan.points)

    def unit(self, arm: Arm, rows: int | None, seed: int) -> Unit:
        """One training."""
        changes = self.parts.recipe(self.plan.recipe, self.folder, rows, seed)
        limit = {"budget.minutes": self.state["limit"] / 60} if self.state["limit"] else {}
        return Unit(arm=arm, rows=rows, seed=seed, folder=self.folder.resolve(), recipe=arm.recipe(self.plan.recipe, {**changes, **limit}))

    def cells(self) -> Iterator[tuple[int | None, int]]:
        """Rows and seed; of all rows there is one set, whatever the seed."""
        return ((rows, seed) for rows in self.points for seed in range(self.plan.seeds if rows else 1))

    def expected(self, arm: Arm, rows: int | None) -> float:
        """About the seconds of a training: by its rehearsal, and for fewer rows by the root of their share: they are seen more often."""
        most = self.points[0] or self.parts.train_rows
        whole: float = self.state["predicted"][arm.key] * ((rows or self.parts.train_rows) / most) ** 0.5
        return min(whole, self.state["limit"] or whole) + _OVERHEAD

    def save(self) -> None:
        """Write down what is settled."""
        artifact.write_json(self.folder / STATE, self.state)


def check_place(out: Path, plan: Plan) -> bool:
    """Whether a comparison of methods lies there.

    Raises UsageError for a file, a folder of anything else, and one that lies in what is read.
    """
    called = "that of a comparison of methods"
    return compare_place.begun(out, plan.inputs, own=_OWN, ours=lambda state: state.get("way") == _WAY, called=called)


def settle(plan: Plan, folder: Path, watch: Watch) -> Settled:
    """Settle a comparison in its folder, or go on with what was settled there.

    Everything that can fail does so here, before something is spent: UsageError and its kinds for what is wrong with plan, rows or bases,
    LedgerRefused for rows that must be accepted by name.
    """
    crossed = arms.crossed(plan.grid, plan.recipe)
    state = _begun(plan, folder)
    if state["parts"]:
        watch.say("compare   goes on with what was settled before")
        arms_rows.kept(Parts(**state["parts"]), folder)
    common = arms_rows.on_a_base(plan.recipe, [each.reference for each in plan.grid.bases.values()])
    parts = arms_rows.divided(common, folder, points=plan.points, seeds=plan.seeds, digests=state["fixed"]["data"], say=watch.say)
    held = (state["parts"] or {}).get("files", {})
    state["parts"] = asdict(parts) | {"files": {**held, **parts.files}}
    sizes = parts.sizes
    apart = f"; {parts.apart} test rows whose text is among the validation rows are left out" if parts.apart else ""
    watch.say(f"rows      {sizes['train']:,} to learn from, {sizes['validation']:,} to validate, {sizes['test']:,} to test{apart}")
    if plan.freeze:
        crossed = arms_freeze.frozen(crossed, state, arms_rows.place(folder, "train"), parts.named, watch)
    for note in crossed.notes:
        watch.say(f"compare   {note}")
    settled = Settled(plan=plan, folder=folder, state=state, parts=parts, arms=crossed.arms, notes=crossed.notes, skipped=crossed.skipped)
    settled = _fitting(settled, watch)
    for name, reason in settled.skipped.items():
        watch.say(f"compare   {name} is left out: {reason}")
    _rehearse(settled)
    if not held and plan.minutes:
        state["limit"] = _limit(settled, 60 * plan.minutes - (time.monotonic() - watch.started))
    settled.save()
    return settled


def _begun(plan: Plan, folder: Path) -> dict[str, Any]:
    """What was settled before, or nothing yet. Raises UsageError where it was for something else."""
    read = arms_rows.digests(plan.recipe)
    common = plan.recipe.plain() | {"base": None, "method": None, "accept": None}
    common["data"] |= {"train": None, "validation": None if "validation" in read else plan.recipe.data.validation}
    fixed = {"data": read, "recipe or --set": common}
    if not (folder / STATE).exists():
        empty: dict[str, Any] = {"parts": None, "arms": {}, "predicted": {}, "baselines": {}, "limit": None, "spent": 0.0}
        return {"way": _WAY, "fixed": fixed} | empty
    state = compare_place.state(folder)
    compare_place.check_same(state, fixed)
    return state


def _fitting(settled: Settled, watch: Watch) -> Settled:
    """Without the arms whose method fits neither task nor base; each of the others tried by one real step, once.

    Raises what is wrong with the first where none is left, and UsageError where an arm of that name was another before.
    """
    state, fit, skipped, first = settled.state, [], dict(settled.skipped), None
    for arm in settled.arms:
        unit = settled.unit(arm, settled.points[0], 0)
        identity = artifact.digest_json([dict(arm.changes), resolve(unit.recipe.base, tokenizer=unit.recipe.tokenizer).digest])
        if state["arms"].get(arm.key, identity) != identity:
            raise compare_place.another(arm.name, "the same base and settings")
        if arm.key not in state["arms"]:
            try:
                predicted = api.rehearse(unit.recipe, Watch())
            except (RecipeError, BaseError) as error:
                skipped[arm.name], first = error.found, first or error
                continue
            state["predicted"][arm.key], state["arms"][arm.key] = predicted["seconds"], identity
            watch.say(
                f"compare   {arm.name}: about {predicted['seconds']:,.0f} s for {settled.points[0] or settled.parts.train_rows:,} rows"
            )
        fit.append(arm)
    if not fit:
        raise first or UsageError("no arm is left: " + "; ".join(skipped.values()), wanted="methods and bases that fit one another")
    return replace(settled, arms=tuple(fit), skipped=skipped)


def _rehearse(settled: Settled) -> None:
    """Prove that every set of rows can be learned from: what was proved before is not again."""
    held, constants, first = settled.state["baselines"], settled.state.setdefault("constants", {}), settled.arms[0]
    for rows, seed in settled.cells():
        if (key := cell(rows, seed)) not in held or key not in constants:
            beside, constants[key] = arms_rows.rehearsed(settled.unit(first, rows, seed).recipe, settled.folder)
            held[key] = beside.figures
            settled.state.setdefault("spreads", {})[key] = beside.kept()


def _limit(settled: Settled, seconds: float) -> float:
    """The most seconds that one training may take so that all end in time: who needs less leaves the rest to the others.

    With halving half of the arms are reckoned with after the first rung. Raises UsageError where it is too little for anything.
    """
    later = (settled.plan.seeds - 1) * (_SURVIVING if settled.plan.halving else 1.0)
    needs = [(settled.expected(arm, rows) - _OVERHEAD, 1 + later) for arm in settled.arms for rows in settled.points]
    left = seconds - sum(weight for _, weight in needs) * _OVERHEAD
    low, high = 0.0, max(need for need, _ in needs)
    if sum(weight * need for need, weight in needs) <= left:
        return max(left, high)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weight * min(need, middle) for need, weight in needs) <= left else (low, middle)
    if low < 1:
        found = f"--minutes {settled.plan.minutes:g} leaves nothing for {len(needs)} trainings with {settled.plan.seeds} seeds"
        raise UsageError(found, wanted="time for each of them", fix="give more --minutes, fewer --seeds, --methods or points")
    return low
