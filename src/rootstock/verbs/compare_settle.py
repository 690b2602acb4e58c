"""What is settled before anything is spent on a comparison: data, tokenizer, architectures, and what each objective gets of the budget.

It lies in the comparison's folder as state.json, written last: who goes on with it finds the same, or is refused.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.method import MOST_EPOCHS
from rootstock.core.recipe import DataSettings
from rootstock.core.watch import Watch
from rootstock.corpus.labelled import corpus_digest
from rootstock.corpus.sources import describe
from rootstock.data import source
from rootstock.planning.compute import FORMULA, MEANING, Budget, Cost, Share, share_out
from rootstock.run.use import Run
from rootstock.verbs import compare_bases, compare_overlap, compare_place, compare_transfer
from rootstock.verbs.compare_place import STATE
from rootstock.verbs.compare_plan import Plan
from rootstock.verbs.compare_transfer import Downstream, Unit

FILES = "compare.json", "compare.html"
_OWN = (*FILES, STATE, "tokenizer", "tokenizer-learned", "architectures", "data", "pretrained", "runs", "answers")
_FILLED = {"downstream": dict, "overlap": dict, "length": int, "baselines": dict, "tried": list, "costs": dict, "budget": dict}
"""Parts of the state beside what is fixed and the architectures, empty at first."""
_ANY = "scratch:bert-tiny"
_LEAST_SHARE, _RUN_SECONDS = 0.25, 6.0
"""Of the minutes that pre-training gets however many rows there are; and what an adaptation takes beside its updates."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A comparison that can be carried out. folder: where it lies. state: the content of state.json. shares: by objective."""

    plan: Plan
    folder: Path
    state: dict[str, Any]
    downstream: tuple[Downstream, ...]
    shares: Mapping[str, Share]

    @property
    def scratch(self) -> dict[str, str]:
        """By objective, the arm of the same architecture with random weights."""
        return compare_bases.arms(self.state["architectures"])

    def units(self, pretrained: Mapping[str, Run]) -> Iterator[Unit]:
        """Every arm on every downstream task, number of rows and seed."""
        references = {self.scratch[name]: self.reference(name) for name in pretrained}
        bases = {name: str(run.path) for name, run in pretrained.items()} | references
        return (self.unit(arm, base, cell) for cell in self.cells() for arm, base in bases.items())

    def unit(self, arm: str, base: str, cell: tuple[Downstream, int | None, int]) -> Unit:
        """One base on one cell."""
        each, rows, seed = cell
        settings = {"length": self.state["length"], "changes": self.plan.changes, "rates": self.plan.rates}
        return Unit(arm=arm, base=base, folder=self.folder, downstream=each, rows=rows, seed=seed, **settings)

    def cells(self) -> Iterator[tuple[Downstream, int | None, int]]:
        """Downstream task, number of rows and seed."""
        return ((each, rows, seed) for each in self.downstream for rows in each.points(self.plan.rows) for seed in range(self.plan.seeds))

    def reference(self, name: str) -> str:
        """The architecture of an objective as a base."""
        return compare_bases.reference(self.plan.architectures[name], self.folder)


def check_place(out: Path, plan: Plan) -> bool:
    """Whether a comparison lies there. Raises UsageError for a file, a folder of anything else, and one that lies in what is read."""
    return compare_place.begun(out, plan.inputs, own=_OWN, ours=lambda state: set(_FILLED) <= set(state))


def settle(plan: Plan, folder: Path, watch: Watch) -> Settled:
    """Settle a comparison in its folder, or go on with what was settled there.

    Everything that can fail does so here, before something is spent: UsageError and its kinds for what is wrong with plan, data or bases,
    LedgerRefused for data that must be accepted by name.
    """
    read = {name: source.read(file, DataSettings(train=file)) for name, file in plan.downstream.items()}
    state = _begun(plan, read, folder)
    if state["downstream"]:
        watch.say("compare   goes on with what was settled before")
    settled = Settled(plan=plan, folder=folder, state=state, downstream=_divided(plan, read, folder, state), shares={})
    _keep_apart(settled, watch)
    if not state["length"]:
        compare_bases.one_tokenizer(plan.corpora, plan.tokenizer, folder / "tokenizer", plan.text, watch.say)
    compare_bases.write_shapes(plan.architectures.values(), folder)
    state["length"] = _length(settled)
    _rehearse(settled, watch)
    settled = replace(settled, shares=_shared_out(settled, watch))
    artifact.write_json(folder / STATE, state)
    return settled


def _begun(plan: Plan, read: Mapping[str, source.Source], folder: Path) -> dict[str, Any]:
    """What was settled before, or nothing yet. Raises UsageError where it was for something else."""
    fixed = {
        "corpus": [[_spelled(each), corpus_digest(each) or describe(each, plan.text).digest] for each in plan.corpora],
        "text field": plan.text,
        "downstream file": {name: [_spelled(file), read[name].digest] for name, file in plan.downstream.items()},
        "choice of columns": {name: dict(each) for name, each in plan.columns.items()},
        "tokenizer": [_spelled(str(plan.tokenizer)), resolve(_ANY, tokenizer=plan.tokenizer).digest] if plan.tokenizer else None,
        "budget": [plan.budget.kind, plan.budget.amount],
        "list of rates": list(plan.rates),
        "--set": {key: value for key, value in plan.changes.items() if key != "accept"},
        "--accept unlabelled": "unlabelled" in plan.accept,
        "--pretrain-set": dict(plan.pretraining),
    }
    identities = {name: compare_bases.identity(each) for name, each in plan.architectures.items()}
    if not (folder / STATE).exists():
        return {"fixed": fixed, "architectures": identities} | {key: kind() for key, kind in _FILLED.items()}
    state = compare_place.state(folder)
    compare_place.check_same(state, fixed)
    for name, identity in identities.items():
        if (held := state["architectures"].setdefault(name, identity)) != identity:
            raise compare_place.another(f"architecture for {name}", held)
    return state


def _spelled(reference: str) -> str:
    return str(Path(reference).resolve()) if Path(reference).exists() else reference


def _divided(plan: Plan, read: Mapping[str, source.Source], folder: Path, state: dict[str, Any]) -> tuple[Downstream, ...]:
    """Downstream files in two parts: those that lie there, or written now."""
    if state["downstream"]:
        return tuple(compare_transfer.kept(state["downstream"][name], folder) for name in plan.downstream)
    chosen = {"unlabelled": "unlabelled" in plan.accept}
    found = [compare_transfer.divided(name, each, folder, columns=plan.columns.get(name, {}), **chosen) for name, each in read.items()]
    state["downstream"] = {each.name: asdict(each) for each in found}
    return tuple(found)


def _keep_apart(settled: Settled, watch: Watch) -> None:
    """Look test rows up in the corpora, once. Raises LedgerRefused where too many stand there."""
    plan, state = settled.plan, settled.state
    if not state["overlap"]:
        tests = {each.name: (each.file(settled.folder, "test"), each.test_rows) for each in settled.downstream}
        state["overlap"] = compare_overlap.met(tests, plan.corpora, plan.text)
        for name, met in state["overlap"].items():
            watch.say(f"overlap   {name}: {compare_overlap.told(met)}")
    compare_overlap.refuse(state["overlap"], plan.downstream, plan.accept)


def _length(settled: Settled) -> int:
    """Tokens kept of a row, the same for every base: what was settled or asked for, or all that each of them takes."""
    plan, tokenizer = settled.plan, settled.folder / "tokenizer"
    rooms = {each: compare_bases.room(settled.reference(name), tokenizer) for name, each in plan.architectures.items()}
    least = min(rooms, key=lambda name: rooms[name])
    wanted: int = settled.state["length"] or plan.changes.get("training.length") or rooms[least]
    if wanted > rooms[least]:
        found = f"{least} takes {rooms[least]} tokens of a row, and {wanted} are compared"
        raise UsageError(found, wanted="the same text for every base", fix="leave it out, lower training.length, or choose another --out")
    return wanted


def _rehearse(settled: Settled, watch: Watch) -> None:
    """Prove that every set of rows can be learned from, and that every architecture can learn: what was proved before is not again."""
    state, references = settled.state, {each: settled.reference(name) for name, each in settled.plan.architectures.items()}
    first = next(iter(references.values()))
    for unit in (settled.unit("", first, cell) for cell in settled.cells()):
        if unit.cell not in state["baselines"]:
            found = compare_transfer.rehearsed(unit)
            state["baselines"][unit.cell] = found.figures
            state.setdefault("spreads", {})[unit.cell] = found.kept()
    for each in settled.downstream:
        points = each.points(settled.plan.rows)
        watch.say(f"rows      {each.name}: {', '.join(str(rows or 'all') for rows in points)}")
        largest = max(points, key=lambda rows: rows or each.pool_rows)
        for architecture, reference in references.items():
            mark = f"{compare_bases.identity(architecture)} on {each.name}"
            if mark not in state["tried"]:
                compare_transfer.tried(settled.unit("", reference, (each, largest, 0)))
                state["tried"].append(mark)


def _shared_out(settled: Settled, watch: Watch) -> dict[str, Share]:
    """The share of each; a budget in time becomes one in operations once, or going on would find another."""
    plan, state = settled.plan, settled.state
    for name in plan.architectures:
        if name not in state["costs"]:
            cost = compare_bases.measured(compare_bases.recipe(plan, name, settled.folder), watch)
            watch.say(f"compare   {name}: {cost.flops:.3g} FLOPs and {1e6 * cost.seconds:.3g} microseconds a token")
            state["costs"][name] = asdict(cost)
    costs = {name: Cost(**state["costs"][name]) for name in plan.architectures}
    if not state["budget"]:
        asked = plan.budget
        if asked.kind == "seconds":
            spent = time.monotonic() - watch.started + _adapting(settled, costs)
            shares = share_out(costs, Budget("seconds", max(asked.amount - spent, _LEAST_SHARE * asked.amount)))
            asked = Budget("flops", max(share.flops for share in shares.values()))
        state["budget"] = {"kind": asked.kind, "amount": asked.amount, "formula": FORMULA, "meaning": MEANING}
    found = share_out(costs, Budget(state["budget"]["kind"], state["budget"]["amount"]))
    for name, share in found.items():
        cut = f", cut at {share.passes:.0f} passes" if share.capped else ""
        told = f"{share.tokens:,.0f} tokens ({share.passes:.1f} passes), {share.flops:.2e} FLOPs"
        watch.say(f"compare   {name}: {told}{cut}, about {share.seconds:,.0f} s")
    return found


def _adapting(settled: Settled, costs: Mapping[str, Cost]) -> float:
    """About the seconds that all adaptations take, from the speed of pre-training and texts of some 40 tokens."""
    cells = list(settled.cells())
    tokens = sum(MOST_EPOCHS / 2 * 40 * min(rows or each.pool_rows, 2000) for each, rows, _ in cells)
    return len(settled.plan.rates) * sum(2 * (_RUN_SECONDS * len(cells) + cost.seconds * tokens) for cost in costs.values())
