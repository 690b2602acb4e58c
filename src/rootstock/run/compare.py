"""Does it transfer? One corpus and one budget, several objectives, each adapted beside the same architecture from scratch.

What has ended in the folder of a comparison is not done again: the same command goes on where it stopped.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.method import MOST_EPOCHS
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Answered, Drawn, difference, draw
from rootstock.loop.history import read
from rootstock.planning.compute import FORMULA, MEANING, Budget, Cost, Share, share_out
from rootstock.report import compare as page
from rootstock.run import compare_bases, compare_transfer
from rootstock.run.compare_transfer import Downstream, Unit
from rootstock.run.scaling_points import amount
from rootstock.run.use import Run

FILES = "compare.json", "compare.html"
_STATE = "state.json"
_OWN = (*FILES, _STATE, "tokenizer", "tokenizer-learned", "architectures", "data", "pretrained", "runs", "answers")
_LEAST_SHARE, _RUN_SECONDS = 0.25, 6.0
"""Of the minutes that pre-training gets however many rows there are; and what an adaptation takes beside its updates."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare. architectures: by objective. rows: labelled rows of each point of the curve, None for all.

    changes: keys of the recipe of every adaptation, set to other values. rates: of them, tried for every arm.
    """

    corpora: tuple[str, ...]
    architectures: Mapping[str, str]
    downstream: Mapping[str, str]
    budget: Budget
    rows: tuple[int | None, ...] = (100, 500, None)
    seeds: int = 3
    tokenizer: Path | None = None
    text: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    rates: tuple[float, ...] = (2e-4, 1e-3)

    def fixed(self) -> dict[str, Any]:
        """What may not change when a comparison is gone on with; rows, seeds and objectives may be added."""
        return {
            "corpora": [str(Path(each).resolve()) if Path(each).exists() else each for each in self.corpora],
            "downstream": dict(self.downstream),
            "budget": [self.budget.kind, self.budget.amount],
            "tokenizer": str(self.tokenizer.resolve()) if self.tokenizer else None,
            "text": self.text,
            "changes": dict(self.changes),
            "rates": list(self.rates),
        }


def budget(minutes: float | None, flops: str | None, tokens: str | None) -> Budget:
    """The budget that options name; an hour for all of it where none does."""
    given = {name: value for name, value in (("minutes", minutes), ("flops", flops), ("tokens", tokens)) if value is not None}
    if len(given) > 1:
        raise UsageError(f"{' and '.join('--' + name for name in given)} are given", wanted="one budget", fix="leave out the others")
    try:
        if flops is not None or tokens is not None:
            return Budget("flops" if flops is not None else "tokens", amount(str(flops or tokens)))
    except ValueError:
        raise UsageError(f"the budget is {flops or tokens!r}", wanted="a number, such as 1e15 or 20M") from None
    return Budget("seconds", 60 * (60.0 if minutes is None else minutes))


def rates(text: str) -> tuple[float, ...]:
    """Learning rates as a person writes them: 2e-4,1e-3."""
    try:
        found = tuple(dict.fromkeys(float(each) for each in text.split(",")))
    except ValueError:
        found = ()
    if not found or min(found) <= 0:
        raise UsageError(f"--rates is {text!r}", wanted="numbers above zero with commas between: 2e-4,1e-3")
    return found


def counts(text: str) -> tuple[int | None, ...]:
    """Numbers of rows as a person writes them: 100,500,all."""
    found = []
    for each in filter(None, (part.strip() for part in text.split(","))):
        if each != "all" and not (each.isdecimal() and int(each) >= 10):
            raise UsageError(f"--rows holds {each!r}", wanted="numbers from 10 on, or all, with commas between: 100,500,all")
        found.append(None if each == "all" else int(each))
    if not found:
        raise UsageError("--rows is empty", wanted="100,500,all")
    return tuple(dict.fromkeys(found))


def compare(plan: Plan, out: Path, watch: Watch, *, overwrite: bool = False) -> dict[str, Any]:
    """Carry a comparison out, or on, and write compare.json and compare.html; returns the content of the former."""
    check_place(out, overwrite=overwrite)
    held = _Comparison(plan, out, watch)
    held.prepare()
    pretrained = {name: held.pretrain(name) for name in plan.architectures}
    answers = held.adapt(pretrained)
    found = held.facts(pretrained) | _results(held, answers)
    artifact.write_json(out / FILES[0], found)
    artifact.write_text(out / FILES[1], page.render(found))
    return found


def rehearse(plan: Plan, watch: Watch) -> dict[str, Any]:
    """What each objective would get and how long it would take, with nothing left behind."""
    with tempfile.TemporaryDirectory() as folder:
        held = _Comparison(plan, Path(folder), watch)
        held.prepare()
        return {"budget": held.state["budget"], "objectives": {name: asdict(share) for name, share in held.shares.items()}}


def check_place(out: Path, *, overwrite: bool) -> None:
    """Raises UsageError for a file or somebody's own files; with overwrite an older comparison is removed."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", wanted="a folder for the comparison", fix="choose another --out")
    strangers = (
        sorted(each.name for each in out.iterdir() if each.name not in _OWN and not each.name.endswith(".part")) if out.exists() else []
    )
    if strangers:
        raise UsageError(f"{out} holds other files: {', '.join(strangers[:3])}", wanted="a new folder", fix="choose another --out")
    if overwrite and out.exists():
        shutil.rmtree(out)


class _Comparison:
    """One comparison on its way: what it asks, where it lies, and what was settled."""

    def __init__(self, plan: Plan, out: Path, watch: Watch) -> None:
        self.plan, self.out, self.watch = plan, out, watch
        self.state: dict[str, Any] = {}
        self.shares: dict[str, Share] = {}
        self.downstream: list[Downstream] = []
        self.scratch = compare_bases.arms(plan.architectures)
        self.references = compare_bases.references(plan.architectures, out / "architectures")

    def prepare(self) -> None:
        """Everything that can fail before something is spent: data, tokenizer, architectures, and what each gets of the budget."""
        self.state = self._begun()
        files = self.plan.downstream.items()
        self.downstream = [
            compare_transfer.divided(name, file, self.out / "data", self.plan.rows, self.plan.changes.get("accept", ()))
            for name, file in files
        ]
        if not (self.out / _STATE).exists():  # what an earlier try left there may be of other options
            compare_bases.one_tokenizer(self.plan.corpora, self.plan.tokenizer, self.out / "tokenizer", self.plan.text, self.watch.say)
        reference = next(iter(self.references.values()))
        trial = [self._unit(reference, reference, each, rows, seed) for each, rows, seed in self._cells()]
        self.state["baselines"] = compare_transfer.rehearsed(trial, self.watch.say)
        costs = {name: Cost(**held) for name, held in self.state["costs"].items()}
        for name in self.plan.architectures:
            if name not in costs:
                costs[name] = compare_bases.measured(self.recipe(name), self.watch)
                self._say(f"{name}: {costs[name].flops:.3g} FLOPs and {1e6 * costs[name].seconds:.3g} microseconds a token")
        self.state["costs"] = {name: asdict(cost) for name, cost in costs.items()}
        self.shares = self._settled({name: costs[name] for name in self.plan.architectures})
        artifact.write_json(self.out / _STATE, self.state)

    def _begun(self) -> dict[str, Any]:
        path = self.out / _STATE
        fixed = self.plan.fixed()
        if not path.exists():
            return {"fixed": fixed, "costs": {}}
        state = artifact.read_json(path, wanted="the state of a comparison", fix="give --overwrite to begin again")
        for name, value in fixed.items():
            if state["fixed"][name] != value:
                found, fix = f"{self.out} holds a comparison with another {name}", "choose another --out, or give --overwrite"
                raise UsageError(found, wanted=str(state["fixed"][name]), fix=fix)
        self._say(f"goes on with what is in {self.out}")
        return state

    def _settled(self, costs: Mapping[str, Cost]) -> dict[str, Share]:
        """The share of each; a budget in time becomes one in operations once, or going on would find another."""
        asked = self.plan.budget
        if asked.kind == "seconds" and "budget" not in self.state:
            left = max(asked.amount - self._downstream_seconds(costs), _LEAST_SHARE * asked.amount)
            shares = share_out(costs, Budget("seconds", left))
            asked = Budget("flops", max(share.flops for share in shares.values()))
        elif "budget" in self.state:
            asked = Budget(self.state["budget"]["kind"], self.state["budget"]["amount"])
        self.state["budget"] = {"kind": asked.kind, "amount": asked.amount, "formula": FORMULA, "meaning": MEANING}
        shares = share_out(costs, asked)
        for name, share in shares.items():
            cut = f", cut at {share.passes:.0f} passes" if share.capped else ""
            told = f"{share.tokens:,.0f} tokens ({share.passes:.1f} passes), {share.flops:.2e} FLOPs"
            self._say(f"{name}: {told}{cut}, about {share.seconds:,.0f} s")
        return shares

    def _downstream_seconds(self, costs: Mapping[str, Cost]) -> float:
        """About what all adaptations take, from the speed of pre-training and texts of some 40 tokens."""
        tokens = sum(MOST_EPOCHS / 2 * 40 * min(rows or each.pool_rows, 2000) for each, rows, _ in self._cells())
        runs = sum(1 for _ in self._cells())
        return len(self.plan.rates) * sum(2 * (_RUN_SECONDS * runs + cost.seconds * tokens) for cost in costs.values())

    def recipe(self, name: str) -> Recipe:
        """The pre-training of one objective."""
        corpora = list(self.plan.corpora)
        share = self.shares.get(name)
        task = {"name": name, **({"text": self.plan.text} if self.plan.text else {})}
        return Recipe.build(
            {
                "base": self.references[name],
                "tokenizer": str((self.out / "tokenizer").resolve()),
                "task": task,
                "data": {"train": corpora[0] if len(corpora) == 1 else corpora, "validation": 0.05},
                "method": {"name": "full"},
                "training": {"steps": share.steps} if share else {},
            },
            "",
        ).anchored(Path.cwd())

    def pretrain(self, name: str) -> Run:
        """One pre-training, now or before."""
        place = self.out / "pretrained" / name
        run = compare_transfer.carried_out(self.recipe(name), place, self.watch)
        self._say(f"{name}: {run.metrics['verdict']}")
        return run

    def adapt(self, pretrained: Mapping[str, Run]) -> dict[tuple[str, str, int | None], list[Answered]]:
        """Every arm on every downstream task, number of rows and seed; the answers by arm, task and rows, one a seed."""
        units = [unit for cell in self._cells() for unit in self._arms(*cell, pretrained)]
        found: dict[tuple[str, str, int | None], list[Answered]] = {}
        for number, unit in enumerate(units, 1):
            answers = compare_transfer.answered(unit, self.out, self.watch)
            found.setdefault((unit.arm, unit.downstream.name, unit.rows), []).append(answers)
            figure = answers.task.headline[0]
            self._say(f"{number:>4} of {len(units)}  {unit.place}  {figure} {answers.figure(figure):.3f}")
        return found

    def _arms(self, each: Downstream, rows: int | None, seed: int, pretrained: Mapping[str, Run]) -> Iterator[Unit]:
        for name, run in pretrained.items():
            yield self._unit(name, str(run.path), each, rows, seed)
        for arm, reference in {self.scratch[name]: self.references[name] for name in pretrained}.items():
            yield self._unit(arm, reference, each, rows, seed)

    def _unit(self, arm: str, base: str, each: Downstream, rows: int | None, seed: int) -> Unit:
        tokenizer = str((self.out / "tokenizer").resolve()) if base.startswith("scratch:") else None
        return Unit(
            arm=arm, base=base, tokenizer=tokenizer, downstream=each, rows=rows, seed=seed, changes=self.plan.changes, rates=self.plan.rates
        )

    def _cells(self) -> Iterator[tuple[Downstream, int | None, int]]:
        return ((each, rows, seed) for each in self.downstream for rows in each.rows for seed in range(self.plan.seeds))

    def _say(self, text: str) -> None:
        self.watch.say(f"compare   {text}")

    def facts(self, pretrained: Mapping[str, Run]) -> dict[str, Any]:
        """What was done, as JSON: budget, pre-trainings and tasks."""
        plan = self.plan
        return {
            "format": 1,
            "corpora": list(plan.corpora),
            "seeds": plan.seeds,
            "rates": list(plan.rates),
            "budget": self.state["budget"],
            "objectives": {name: self._learned(name, run) for name, run in pretrained.items()},
            "tasks": {each.name: {"file": plan.downstream[each.name], **compare_transfer.plain(each)} for each in self.downstream},
            "baselines": self.state["baselines"],
        }

    def _learned(self, name: str, run: Run) -> dict[str, Any]:
        """One pre-training as it was: counted, not planned."""
        steps = [event for event in read(run.folder.history) if event["event"] == "step"]
        tokens = sum(event["tokens"] for event in steps)
        cost = Cost(**self.state["costs"][name])
        return {
            "architecture": self.plan.architectures[name],
            "run": str(run.path),
            **{key: self.state["costs"][name][key] for key in ("body", "decoder", "output", "guessed")},
            "flops_per_token": cost.flops,
            "tokens": tokens,
            "passes": tokens / cost.corpus,
            "flops": tokens * cost.flops,
            "capped": self.shares[name].capped,
            "steps": len(steps),
            "seconds": run.folder.json("plan.json")["measured"]["seconds"],
            "loss": run.metrics["metrics"].get("loss"),
            "accuracy": run.metrics["metrics"].get("accuracy"),
        }


def _results(held: _Comparison, answers: Mapping[tuple[str, str, int | None], Sequence[Answered]]) -> dict[str, Any]:
    """Gains over the same architecture from scratch, and which objective is ahead, with intervals."""
    gains, ahead = [], []
    for each in held.downstream:
        for rows in each.rows:
            here = {arm: given for (arm, task, count), given in answers.items() if (task, count) == (each.name, rows)}
            figure = next(iter(here.values()))[0].task.headline[0]
            drawn = {arm: draw(given, figure, seed=0) for arm, given in here.items()}
            place = {"task": each.name, "rows": rows or each.pool_rows, "all": rows is None, "figure": figure}
            arms = {name: drawn[name] for name in held.plan.architectures}
            gains += [{"objective": name, **place, **_gain(arm, drawn[held.scratch[name]])} for name, arm in arms.items()]
            ahead.append(place | _ahead(arms))
    return {"gains": gains, "ahead": ahead}


def _gain(pretrained: Drawn, scratch: Drawn) -> dict[str, Any]:
    found = difference(pretrained, scratch, seed=0)
    sides = {"pretrained": pretrained.whole.tolist(), "scratch": scratch.whole.tolist()}
    return {**sides, "gain": found.value, "interval": list(found.interval), "separable": found.separable}


def _ahead(arms: Mapping[str, Drawn]) -> dict[str, Any]:
    """The best objective here, and those that the test rows and seeds do not tell from it."""
    best = max(arms, key=lambda name: arms[name].mean)
    apart = {name: difference(arms[best], held, seed=0) for name, held in arms.items() if name != best}
    behind = {name: {"difference": found.value, "interval": list(found.interval)} for name, found in apart.items() if found.separable}
    return {"best": best, "value": arms[best].mean, "ties": [name for name in apart if name not in behind], "behind": behind}
