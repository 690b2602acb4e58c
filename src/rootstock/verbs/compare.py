"""Does it transfer? One corpus and one budget, several objectives, each adapted beside the same architecture from scratch.

What has ended in the folder of a comparison is not done again: the same command goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.core import artifact, aside
from rootstock.core.lock import alone
from rootstock.core.watch import Watch
from rootstock.evaluation.intervals import limits
from rootstock.evaluation.paired import Answered, Drawn, difference, draw, estimate
from rootstock.loop.history import read
from rootstock.planning.compute import Cost
from rootstock.report import compare as page
from rootstock.run.use import Run
from rootstock.verbs import compare_bases, compare_place, compare_transfer
from rootstock.verbs.compare_plan import Plan
from rootstock.verbs.compare_settle import FILES, Settled, check_place, settle
from rootstock.verbs.compare_transfer import Downstream

Answers = Mapping[tuple[str, str, int | None], Sequence[Answered]]
"""By arm, downstream task and number of rows, one a seed."""


def compare(plan: Plan, out: Path, watch: Watch, *, overwrite: bool = False) -> dict[str, Any]:
    """Carry a comparison out, or on, and write compare.json and compare.html; returns the content of the former.

    One that is to be replaced stays until the first pre-training of the new one has made an update.
    """
    with alone(out):
        compare_place.mend(out)
        with compare_place.settling(out, goes_on=check_place(out, plan) and not overwrite) as folder:
            settled = settle(plan, folder, watch)
        settled = replace(settled, folder=out)
        with aside.kept(out, watch) as heard:
            pretrained = {name: _pretrained(settled, name, heard) for name in plan.architectures}
            found = _facts(settled, pretrained) | _results(settled, _adapted(settled, pretrained, watch))
            figures = {place["task"]: place["figure"] for place in found["ahead"]}
            found["baseline_intervals"] = {each.name: _baseline_intervals(settled, each, figures[each.name]) for each in settled.downstream}
            artifact.write_json(out / FILES[0], found)
            artifact.write_text(out / FILES[1], page.render(found))
            return found


def rehearse(plan: Plan, out: Path, watch: Watch, *, overwrite: bool = False) -> dict[str, Any]:
    """What each objective would get and how long it would take, with nothing left behind."""
    goes_on = check_place(out, plan) and not overwrite
    with compare_place.rehearsing(out, ("data", "tokenizer"), goes_on=goes_on) as folder:
        settled = settle(plan, folder, watch)
    return {"budget": settled.state["budget"], "objectives": {name: asdict(share) for name, share in settled.shares.items()}}


def _pretrained(settled: Settled, name: str, watch: Watch) -> Run:
    """One pre-training, now or before."""
    recipe = compare_bases.recipe(settled.plan, name, settled.folder, settled.shares[name].steps)
    run = compare_transfer.carried_out(recipe, settled.folder / "pretrained" / name, watch)
    watch.say(f"compare   {name}: {run.metrics['verdict']}")
    return run


def _adapted(settled: Settled, pretrained: Mapping[str, Run], watch: Watch) -> Answers:
    units = list(settled.units(pretrained))
    found: dict[tuple[str, str, int | None], list[Answered]] = {}
    for number, unit in enumerate(units, 1):
        answers = compare_transfer.answered(unit, watch)
        found.setdefault((unit.arm, unit.downstream.name, unit.rows), []).append(answers)
        figure = answers.task.headline[0]
        watch.say(f"compare   {number:>4} of {len(units)}  {unit.place}  {figure} {answers.figure(figure):.3f}")
    return found


def _facts(settled: Settled, pretrained: Mapping[str, Run]) -> dict[str, Any]:
    """What was done, as JSON: budget, pre-trainings and tasks."""
    plan = settled.plan
    return {
        "format": 1,
        "corpora": list(plan.corpora),
        "seeds": plan.seeds,
        "rates": list(plan.rates),
        "length": settled.state["length"],
        "budget": settled.state["budget"],
        "objectives": {name: _learned(settled, name, run) for name, run in pretrained.items()},
        "tasks": {each.name: _task(settled, each) for each in settled.downstream},
        "baselines": {each.name: _baselines(settled, each) for each in settled.downstream},
    }


def _task(settled: Settled, each: Downstream) -> dict[str, Any]:
    rows = {"test_rows": each.test_rows, "pool_rows": each.pool_rows, "overlap": settled.state["overlap"][each.name]}
    return {"file": settled.plan.downstream[each.name], "task": each.task, **rows}


def _baselines(settled: Settled, each: Downstream) -> dict[str, dict[str, Any]]:
    """By number of rows, figures of what needs no model, means over the seeds."""
    found: dict[str, dict[str, Any]] = {}
    for rows in each.points(settled.plan.rows):
        held = [settled.state["baselines"][cell] for cell in _cells(settled, each, rows)]
        found[str(rows or "all")] = {name: float(np.mean([figures[name] for figures in held])) for name in held[0]}
    return found


def _baseline_intervals(settled: Settled, each: Downstream, figure: str) -> dict[str, dict[str, list[float]]]:
    """The same by number of rows and name."""
    held, spreads = settled.state["baselines"], settled.state.get("spreads", {})
    found = {str(rows or "all"): _cells(settled, each, rows) for rows in each.points(settled.plan.rows)}
    return {
        rows: compare_transfer.together([held[cell] for cell in cells], [spreads.get(cell, {}) for cell in cells], figure)
        for rows, cells in found.items()
    }


def _cells(settled: Settled, each: Downstream, rows: int | None) -> list[str]:
    return [settled.unit("", "", (each, rows, seed)).cell for seed in range(settled.plan.seeds)]


def _learned(settled: Settled, name: str, run: Run) -> dict[str, Any]:
    """One pre-training as it was: counted, not planned."""
    steps = [event for event in read(run.folder.history) if event["event"] == "step"]
    tokens, held = sum(event["tokens"] for event in steps), settled.state["costs"][name]
    cost = Cost(**held)
    return {
        "architecture": settled.plan.architectures[name],
        "run": str(run.path),
        **{key: held[key] for key in ("body", "decoder", "output", "guessed")},
        "flops_per_token": cost.flops,
        "tokens": tokens,
        "passes": tokens / cost.corpus,
        "flops": tokens * cost.flops,
        "capped": settled.shares[name].capped,
        "steps": len(steps),
        "seconds": run.folder.json("plan.json")["measured"]["seconds"],
        "loss": run.metrics["metrics"].get("loss"),
        "accuracy": run.metrics["metrics"].get("accuracy"),
        "intervals": {name: run.metrics["intervals"][name] for name in ("loss", "accuracy") if name in run.metrics["intervals"]},
    }


def _results(settled: Settled, answers: Answers) -> dict[str, Any]:
    """Gains over the same architecture from scratch, and which objective is ahead, with intervals."""
    gains, ahead = [], []
    for each in settled.downstream:
        for rows in each.points(settled.plan.rows):
            here = {arm: given for (arm, task, count), given in answers.items() if (task, count) == (each.name, rows)}
            figure = next(iter(here.values()))[0].task.headline[0]
            drawn = {arm: draw(given, figure, seed=0) for arm, given in here.items()}
            place = {"task": each.name, "rows": rows or each.pool_rows, "all": rows is None, "figure": figure}
            arms = {name: drawn[name] for name in settled.plan.architectures}
            gains += [{"objective": name, **place, **_gain(arm, drawn[settled.scratch[name]], figure)} for name, arm in arms.items()]
            ahead.append(place | _ahead(arms, figure))
    return {"gains": gains, "ahead": ahead}


def _gain(pretrained: Drawn, scratch: Drawn, figure: str) -> dict[str, Any]:
    found, both = difference(pretrained, scratch), {"pretrained": pretrained, "scratch": scratch}
    sides = {name: side.whole.tolist() for name, side in both.items()}
    ends = {name: list(estimate(side, within=limits(figure)).interval) for name, side in both.items()}
    return {**sides, "intervals": ends, "gain": found.value, "interval": list(found.interval), "separable": found.separable}


def _ahead(arms: Mapping[str, Drawn], figure: str) -> dict[str, Any]:
    """The best objective here, and those that the test rows and seeds do not tell from it."""
    best = max(arms, key=lambda name: arms[name].mean)
    apart = {name: difference(arms[best], held) for name, held in arms.items() if name != best}
    behind = {name: {"difference": found.value, "interval": list(found.interval)} for name, found in apart.items() if found.separable}
    told = estimate(arms[best], within=limits(figure))
    return {
        "best": best,
        "value": told.value,
        "interval": list(told.interval),
        "ties": [name for name in apart if name not in behind],
        "behind": behind,
    }
