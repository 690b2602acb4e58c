"""One task of a suite, trained with one seed, and what it answers; kept, so that a benchmark that was stopped goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.errors import RecipeError, nearest
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, PAIR, TEXT, Columns
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.settings import changed
from rootstock.core.watch import Watch
from rootstock.data import ledger
from rootstock.evaluation.paired import Answered
from rootstock.evaluation.suite import TRAIN, Member
from rootstock.run.ending import parquet
from rootstock.run.finish import seen_keys
from rootstock.run.known import known
from rootstock.run.use import Run
from rootstock.verbs import api, kept_answers
from rootstock.verbs.benchmark_rows import INDEX, Split, measured

MOST_HELD = 2000
"""Training rows that choose the best state, at most: more would hardly choose better and cost as much as the training of a small task."""
OVERLAP, KNOWN = "overlap", "known"
"""Of each row measured on: whether the training rows hold it, and whether the base had learned it before."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Which model is asked for: the task it learns, how, and whether its folder stays."""

    name: str
    member: Member
    splits: Mapping[str, Split]
    base: str
    settings: Mapping[str, Any]
    seed: int
    folder: Path

    @property
    def run(self) -> Path:
        """Where it is trained."""
        return self.folder / "runs" / f"{self.name}-{self.seed}"

    def recipe(self, minutes: float | None) -> Recipe:
        """Of the training: a part of the training rows, never those measured on, chooses the best state."""
        columns = {"text": TEXT, "label": LABEL, **({"text_pair": PAIR} if self.member.text_pair else {})}
        classes = {"labels": [names[0] for names in self.member.labels], "several": "no"} if self.member.labels else {}
        rows = self.splits[TRAIN].labelled
        values = {
            "base": self.base,
            "task": {"name": self.member.task, **columns, **classes},
            "data": {"train": str(self.splits[TRAIN].file.resolve()), "validation": min(0.1, MOST_HELD / rows)},
            "method": {"name": "auto"},
            "seed": self.seed,
            "budget": {"minutes": minutes},
            "accept": list(ledger.LIMITS),
        }
        return Recipe.build(changed(values, self.settings), "")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A task whose rows a trained model answers. submission: also those that the benchmark alone can judge."""

    name: str
    member: Member
    splits: Mapping[str, Split]
    submission: bool

    @property
    def measured(self) -> tuple[str, ...]:
        """Splits with answers."""
        return measured(self.member, self.splits)

    @property
    def submitted(self) -> tuple[str, ...]:
        """Splits whose answers go to the benchmark."""
        return tuple(each for each in self.member.submission if each in self.splits) if self.submission else ()


def check_figures(name: str, member: Member) -> None:
    """Raise RecipeError for a figure that is not there for this task and its classes: answers that are all right define each that is."""
    labels = [names[0] for names in member.labels]
    settings, scores, of = dict[str, Any](labels=labels, several="no"), np.eye(len(labels)), f" of {len(labels)} classes"
    if member.task == "regression":
        settings, scores, of = {}, np.arange(3.0)[:, None], ""
    task = catalog.find("tasks", member.task).build(settings, "task")
    columns = task.judged({"scores": scores, "answers": np.arange(len(scores))})
    for figure in member.metrics:
        try:
            given = task.metrics(columns, (figure,))
        except KeyError:
            given = {}
        if figure not in given:
            there = task.metrics(columns)
            near = nearest(figure, there)
            fix = f"did you mean {near!r}?" if near else ""
            raise RecipeError(f"{name} has no figure {figure!r}{of}", wanted=f"one of {', '.join(there)}", fix=fix)


def noted(trained: Trained, asked: Sequence[Asked]) -> dict[str, Any] | None:
    """What is known of a model that has ended and answered all that is asked; None where it has not."""
    path = _place(trained, "json")
    if not path.is_file():
        return None
    found = artifact.read_json(path, wanted="a benchmark's answers", fix="remove it")
    needed = {name for each in asked for split in (*each.measured, *each.submitted) for name in [f"{each.name}/{split}"]}
    submitted = {f"{each.name}/{split}" for each in asked for split in each.submitted}
    return found if needed <= set(found["answered"]) and submitted <= set(found["submitted"]) else None


def carried_out(trained: Trained, asked: Sequence[Asked], watch: Watch, *, minutes: float | None, keep: bool) -> dict[str, Any]:
    """Train, or go on, and keep the answers; the note of it is written last."""
    begun = RunFolder(trained.run).begun
    recipe = read_recipe(RunFolder(trained.run).recipe) if begun else trained.recipe(minutes)
    quiet = Watch(event=lambda event: None if event["event"] == "evaluation" else watch.event(event), stop=watch.stop)
    run = api.part(recipe, trained.run, quiet, fix=api.AGAIN)
    for each in asked:
        for split in each.measured:
            kept_answers.write(_place(trained, f"{each.name}.{split}.safetensors"), _answered(run, each, split, trained.base))
        for split in each.submitted:
            artifact.write_bytes(_place(trained, f"{each.name}.{split}.parquet"), _said(run, each, split))
    found = _facts(run, trained)
    found |= {"answered": sorted(f"{each.name}/{split}" for each in asked for split in each.measured)}
    found |= {"submitted": sorted(f"{each.name}/{split}" for each in asked for split in each.submitted)}
    artifact.write_json(_place(trained, "json"), found)
    if not keep:
        artifact.remove(run.path)
    return found


def _place(trained: Trained, ending: str) -> Path:
    return trained.folder / "answers" / f"{trained.name}-{trained.seed}.{ending}"


def answers(trained: Trained, asked: Asked, split: str) -> tuple[Answered, Mapping[str, np.ndarray]]:
    """What was kept of a split: its answers, and whether its rows were known."""
    task = artifact.read_json(_place(trained, "json"), wanted="a benchmark's answers", fix="remove it")["task"]
    found = kept_answers.read(_place(trained, f"{asked.name}.{split}.safetensors"), task)
    marks = {name: found.columns[name].astype(bool) for name in (OVERLAP, KNOWN)}
    return Answered({name: values for name, values in found.columns.items() if name not in marks}, found.task), marks


def said(trained: Trained, asked: Asked, split: str) -> pa.Table:
    """The kept answers to rows of a submission: their number, and what was predicted."""
    import pyarrow.parquet as pq

    return pq.read_table(_place(trained, f"{asked.name}.{split}.parquet"))


def _answered(run: Run, asked: Asked, split: str, base: str) -> Columns:
    rows = asked.splits[split].table(labelled=True)
    made = run.predictions(rows)
    columns = run.task.judged({"scores": made.columns["scores"], "answers": run.task.answers(rows)})
    marks = {OVERLAP: np.isin(seen_keys(rows), run.seen()["rows"]), KNOWN: known(base, rows)}
    return {**columns, **marks}


def _said(run: Run, asked: Asked, split: str) -> bytes:
    rows = asked.splits[split].table(labelled=False)
    made = run.predictions(rows.drop_columns([LABEL]))
    return parquet({INDEX: rows.column(INDEX), "prediction": made.table["predicted"]})


def _facts(run: Run, trained: Trained) -> dict[str, Any]:
    manifest, plan = run.folder.json("manifest.json"), run.folder.json("plan.json")
    findings = run.folder.json("ledger.json")["findings"]
    return {
        "task": run.recipe.task,
        "method": run.recipe.method,
        "rows": manifest["rows"],
        "seconds": plan["measured"]["seconds"],
        "steps": plan["measured"]["steps"],
        "chosen_on": run.metrics["metrics"],
        "chosen_on_intervals": run.metrics["intervals"],
        "findings": {name: {"count": each["count"], "share": each["share"]} for name, each in findings.items()},
        "seed": trained.seed,
    }
