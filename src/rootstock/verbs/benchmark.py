"""A base measured on a suite of tasks: fine-tuned on each one's training rows, measured on its development rows by its own figures.

What has ended in the folder of a benchmark is not done again: the same command goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.bases.resolve import Resolved, resolve
from rootstock.core import artifact, aside, place
from rootstock.core.errors import Interrupted, UsageError
from rootstock.core.lock import alone
from rootstock.core.recipe import Recipe
from rootstock.core.settings import changed, check_free
from rootstock.core.watch import Watch
from rootstock.evaluation.intervals import limits
from rootstock.evaluation.paired import Answered, Drawn, draw, estimate, together
from rootstock.evaluation.suite import Suite
from rootstock.report import benchmark as page
from rootstock.verbs import api
from rootstock.verbs import benchmark_submission as submission
from rootstock.verbs import benchmark_units as units
from rootstock.verbs.benchmark_rows import Places, Split, check_trainable, gathered
from rootstock.verbs.benchmark_units import Asked, Trained

FILES = ("benchmark.json", "lm_eval.json", "README.md")
"""What is written of the results: all of it, the layout of lm-evaluation-harness, and a card with the hub's model-index."""
STATE = "state.json"
DATA = "data"
_OWN = (*FILES, STATE, DATA, "runs", "answers", submission.FOLDER)
_VARIED = {
    "seed": "--seeds says how many are tried, from 0 on",
    "base": "it stands behind the suite",
    "task": "the suite says what is learned",
    "data.train": "--data says where the rows are",
    "budget": "what may be spent is for all trainings together: --minutes",
}
"""Keys of the recipe that the benchmark sets itself, and what to use instead."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure. data: words of --data. minutes: for all trainings together. changes: keys of each training's recipe.

    Raises UsageError for a key that the benchmark sets itself.
    """

    suite: Suite
    base: str
    tasks: tuple[str, ...]
    data: tuple[str, ...] = ()
    seeds: int = 1
    minutes: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    submission: bool = False
    keep: bool = False

    def __post_init__(self) -> None:
        check_free(self.changes, _VARIED, "the benchmark")
        Recipe.build(changed({"data": {"train": "rows"}, "budget": {"minutes": self.minutes}}, self.changes), "")


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A benchmark that can be carried out."""

    plan: Plan
    folder: Path
    base: Resolved
    splits: Mapping[str, Mapping[str, Split]]

    def asked(self, name: str) -> Asked:
        """A task of the suite, to be answered."""
        return Asked(name=name, member=self.plan.suite.tasks[name], splits=self.splits[name], submission=self.plan.submission)

    def trained(self) -> list[tuple[Trained, list[Asked]]]:
        """Every model and the tasks that it answers, from the fewest training rows to the most: what one leaves of its time, others get."""
        members = self.plan.suite.tasks
        learned = [name for name in self.plan.tasks if not members[name].learns_from]
        learned.sort(key=lambda name: self.splits[name]["train"].rows)
        answers = {name: [self.asked(each) for each in self.plan.tasks if name in (each, members[each].learns_from)] for name in learned}
        return [(self.model(name, seed), answers[name]) for name in learned for seed in range(self.plan.seeds)]

    def model(self, name: str, seed: int) -> Trained:
        """The model that answers a task."""
        name = self.plan.suite.tasks[name].learns_from or name
        return Trained(
            name=name,
            member=self.plan.suite.tasks[name],
            splits=self.splits[name],
            base=self.plan.base,
            settings=self.plan.changes,
            seed=seed,
            folder=self.folder,
        )


def benchmark(plan: Plan, out: Path, watch: Watch, *, overwrite: bool = False) -> dict[str, Any]:
    """Carry a benchmark out, or on, and write its results; returns the content of benchmark.json.

    One that is to be replaced stays until the first training of the new one has made an update.
    """
    with alone(out):
        aside.mend(out, begun=(out / STATE).exists(), learned=any((out / "answers").glob("*.json")))
        known = None if overwrite else settle(plan, out, watch)
        with aside.kept(out, watch) as heard:
            settled = known or settle(plan, out, watch, overwrite=True)
            notes = _trained(settled, heard)
        found = _results(settled, notes)
        if plan.submission:
            answered = [(settled.asked(name), settled.model(name, 0)) for name in plan.tasks]
            found["submission"] = submission.write(settled.folder, answered, plan.suite)
        artifact.write_json(out / FILES[0], found)
        artifact.write_json(out / FILES[1], page.harness(found))
        artifact.write_text(out / FILES[2], page.card(found))
        return found


def settle(plan: Plan, out: Path, watch: Watch, *, overwrite: bool = False) -> Settled:
    """What can fail before something is spent: the base passes the gate, all rows are read. Another plan than before is refused."""
    begun = _check_place(out)
    base = resolve(plan.base)
    places = Places.told(plan.data, plan.suite)
    for name in plan.tasks:
        units.check_figures(name, plan.suite.tasks[name])
    if begun and overwrite:
        aside.put(out)
        begun = False
    splits = {}
    for name in plan.tasks:
        member = plan.suite.tasks[name]
        splits[name] = gathered(plan.suite, name, places.of(name, member), out / DATA / name)
        check_trainable(name, member, splits[name])
        watch.say(f"rows      {name}: " + ", ".join(each.told(split) for split, each in splits[name].items()))
    fixed: dict[str, Any] = {"suite": plan.suite.plain(), "base": base.digest, "changes": dict(plan.changes), "minutes": plan.minutes}
    state = _same(out, fixed, splits) if begun else fixed | {"rows": {}}
    state["rows"] |= {name: {split: each.sha256 for split, each in found.items()} for name, found in splits.items()}
    artifact.write_json(out / STATE, state)
    return Settled(plan=plan, folder=out, base=base, splits=splits)


def _check_place(out: Path) -> bool:
    """Whether a benchmark lies there. Raises UsageError for a file and for a folder of anything else."""
    found = [name for name in place.held(out, "benchmark", own=(), also=True) if not name.endswith(place.PART)]
    begun = STATE in found or found == [DATA]
    place.held(out, "benchmark", own=_OWN if begun else (), wanted="a new or empty folder, or a benchmark's")
    return STATE in found


def _same(out: Path, fixed: Mapping[str, Any], splits: Mapping[str, Mapping[str, Split]]) -> dict[str, Any]:
    """The state of a benchmark that goes on; UsageError where it was begun on something else."""
    state = artifact.read_json(out / STATE, wanted="a benchmark's state", fix="begin again with --overwrite")
    differ = [name for name, value in fixed.items() if artifact.digest_json(state.get(name)) != artifact.digest_json(value)]
    kept = state.get("rows", {})
    for name, found in splits.items():
        before = kept.get(name, {})
        differ += [f"file of {name}'s {split} rows" for split, each in found.items() if before.get(split, each.sha256) != each.sha256]
    if differ:
        fix = "choose another --out, or begin again with --overwrite"
        raise UsageError(f"{out} was begun with another {differ[0]}", wanted="the same; tasks and seeds may be added", fix=fix)
    return state


def _trained(settled: Settled, watch: Watch) -> dict[tuple[str, int], dict[str, Any]]:
    """What is known of every model; those that are missing are trained now, each with an equal part of the time that is left."""
    todo, found, spent = settled.trained(), dict[tuple[str, int], dict[str, Any]](), 0.0
    missing = [each for each in todo if units.noted(*each) is None]
    for trained, asked in todo:
        note = units.noted(trained, asked)
        if note is None:
            if watch.stop():
                raise Interrupted(f"stopped after {len(todo) - len(missing)} of {len(todo)} trainings", fix=api.AGAIN)
            share = None if settled.plan.minutes is None else max(settled.plan.minutes - spent, 0.05 * settled.plan.minutes) / len(missing)
            note = units.carried_out(trained, asked, watch, minutes=share, keep=settled.plan.keep)
            missing.pop()
            aside.gone(settled.folder)
        elif not settled.plan.keep:
            artifact.remove(trained.run)  # it was killed while that went
        spent += note["seconds"] / 60
        found[trained.name, trained.seed] = note
        watch.say(f"benchmark {len(todo) - len(missing):>3} of {len(todo)}  {trained.name}, seed {trained.seed}: {note['seconds']:,.0f} s")
    return found


def _results(settled: Settled, notes: Mapping[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    plan, tasks, scores = settled.plan, {}, dict[str, Drawn]()
    for name in plan.tasks:
        tasks[name], score = _task(settled, name, notes)
        scores |= {name: score} if score else {}
    return {
        "format": 1,
        "suite": {"title": plan.suite.title, "paper": plan.suite.paper, "hub": plan.suite.hub, "average": plan.suite.average},
        "base": {"reference": plan.base, "name": settled.base.name, "sha256": settled.base.digest, "run": _before(settled.base)},
        "seeds": plan.seeds,
        "minutes": plan.minutes,
        "changes": dict(plan.changes),
        "tasks": tasks,
        "average": _average(plan.suite, scores),
    }


def _before(base: Resolved) -> dict[str, Any] | None:
    """What a run that serves as base had learned."""
    return {key: base.run.get(key) for key in ("task", "method", "data", "base")} if base.run else None


def _task(settled: Settled, name: str, notes: Mapping[tuple[str, int], dict[str, Any]]) -> tuple[dict[str, Any], Drawn | None]:
    asked, seeds = settled.asked(name), range(settled.plan.seeds)
    models, found, drawn = [settled.model(name, seed) for seed in seeds], dict[str, Any](), list[Drawn]()
    for split in asked.measured:
        held = [units.answers(model, asked, split) for model in models]
        of = {figure: draw([answered for answered, _ in held], figure, seed=0) for figure in asked.member.metrics}
        marks = held[0][1]
        figures = {figure: {**_told(each, figure), "seeds": each.whole.tolist()} for figure, each in of.items()}
        met = {mark: {"rows": int(known_N.sum()), "without": _without(held, known_N, asked)} for mark, known_N in marks.items()}
        found[split] = {"rows": len(marks[units.OVERLAP]), "figures": figures, **met}
        drawn += of.values()
    score = together(drawn) if drawn else None
    facts: dict[str, Any] = {
        "title": asked.member.title,
        "learns_from": asked.member.learns_from,
        "splits": found,
        "score": _told(score, asked.member.metrics[0]) if score else None,
        "sources": {split: {**each.facts, "published": asked.member.rows.get(split)} for split, each in asked.splits.items()},
        "runs": [notes[model.name, model.seed] for model in models],
    }
    return facts, score


def _told(drawn: Drawn, figure: str) -> dict[str, Any]:
    found = estimate(drawn, within=limits(figure))
    return {"value": found.value, "interval": list(found.interval), "error": found.error}


def _without(held: Sequence[tuple[Answered, Mapping[str, np.ndarray]]], known_N: np.ndarray, asked: Asked) -> dict[str, dict[str, Any]]:
    """The figures on the rows that were not known, as on all of them; none where all rows are new, or none is."""
    if not known_N.any() or known_N.all():
        return {}
    new = [Answered({name: values[~known_N] for name, values in each.columns.items()}, each.task) for each, _ in held]
    return {figure: _told(draw(new, figure, seed=0), figure) for figure in asked.member.metrics}


def _average(suite: Suite, scores: Mapping[str, Drawn]) -> dict[str, Any] | None:
    """The one number of the suite over the tasks that were measured; None where none of them counts."""
    counted = [name for name in suite.averaged or tuple(suite.tasks) if name in scores]
    missing = [name for name in suite.averaged or tuple(suite.tasks) if name not in scores]
    if not counted:
        return None
    return {"tasks": counted, "missing": missing, "partial": bool(missing), **_told(together([scores[name] for name in counted]), "")}
