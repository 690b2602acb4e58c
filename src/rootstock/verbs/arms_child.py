"""One arm's training in a process of its own, so that what it takes of memory is its own; and its answers on rows that it never saw.

It has its order from `arms_nursery` and tells by lines of JSON on stdout. A line on stdin, `stop`, asks it to save and end; where stdin
ends without one, whoever asked is gone, and so it goes: two would write into one folder otherwise.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.recipe import Recipe
from rootstock.core.resources import peak_since
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Event, Watch
from rootstock.planning.memory import counted
from rootstock.run.use import Run
from rootstock.verbs import api, arms_rows, far, kept_answers
from rootstock.verbs.arms_curtail import Curtailed, Rival, trajectory

SIDES = "test", "validation"
_WARM_ROWS = 64
"""Predicted before the clock runs: what is made once for each shape is not what a row costs."""


def main(order: Mapping[str, Any]) -> None:
    """Carry one order out; what the libraries print goes to stderr, so that stdout holds nothing but our own lines."""
    told = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    stopped = threading.Event()
    threading.Thread(target=_listen, args=(stopped,), daemon=True).start()
    _tell(told, **outcome(order, Watch(event=lambda event: _tell(told, event=event), stop=stopped.is_set, goes_back=False)))


def outcome(order: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """What came of an order, as JSON: `done` with the facts, or `error` with the name of its class and what it says."""
    return far.outcome(lambda: carried_out(order, watch))


def _tell(told: TextIO, **line: Any) -> None:
    told.write(json.dumps(line) + "\n")


def _listen(stopped: threading.Event) -> None:
    if os.read(0, 64).strip() == b"stop":  # not by sys.stdin, whose lock a waiting thread would hold when the process ends
        stopped.set()
    else:
        os._exit(1)


def carried_out(order: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Learn, or go on learning, and write the answers; the facts of the run.

    order: the recipe, where the run and its answers go, the folder of the parts that are answered, and the rival that may end the training.
    """
    began = time.monotonic()
    recipe, place, answers = Recipe.build(order["recipe"], ""), Path(order["place"]), Path(order["answers"])
    groups_N = arms_rows.groups(recipe, arms_rows.place(Path(order["folder"]), "validation")) if order.get("rival") else None
    rival = Rival.read(order["rival"], groups_N) if groups_N is not None else None
    schedule = recipe.training.schedule, recipe.training.warmup
    curtailed = Curtailed(rival, answers, RunFolder(place).history, schedule=schedule)

    def event(told: Event) -> None:
        curtailed.event(told)
        watch.event(told)

    heard = Watch(event=event, stop=watch.stop, judged=curtailed.judged, enough=curtailed.enough, goes_back=watch.goes_back)
    run = api.part(recipe, place, heard, fix=api.AGAIN)
    peak = peak_since()
    rows = {side: arms_rows.read(recipe, arms_rows.place(Path(order["folder"]), side)) for side in SIDES}
    made: dict[str, Any] = {}
    run.predictions(rows["test"].slice(0, _WARM_ROWS))
    for side, table in rows.items():
        started = time.perf_counter()
        columns = run.predictions(table).columns
        made[side] = {"rows_per_second": round(len(table) / (time.perf_counter() - started), 1)}
        columns = {**columns, "answers": run.task.answers(table)}
        if side == "test":
            made["details"] = run.task.details(columns)
        judged = run.task.judged(columns)
        made[side]["metrics"] = run.task.metrics(judged)
        kept_answers.write(answers.with_suffix(f".{side}.safetensors"), judged)
    found = _facts(run, made, peak) | {"wall": round(time.monotonic() - began, 2), "stopped": curtailed.facts or None}
    artifact.write_json(answers.with_suffix(".json"), found)
    curtailed.forget()
    return found


def _facts(run: Run, made: Mapping[str, Any], peak: int) -> dict[str, Any]:
    """What one run took and reached, as JSON."""
    measured = run.folder.json("plan.json")["measured"]
    learning, whole = _parameters(run)
    return {
        "task": run.recipe.task,
        "kind": run.task.kind,
        "metrics": {side: made[side]["metrics"] for side in SIDES},
        "per_class": made["details"].get("per_class", []),
        "seconds": measured["seconds"],
        "steps": measured["steps"],
        "peak_bytes": peak,
        "learning": learning,
        "parameters": whole,
        "artifact_bytes": sum(path.stat().st_size for path in run.folder.model.rglob("*") if path.is_file()),
        "rows_per_second": made["test"]["rows_per_second"],
        "trajectory": trajectory(run.folder.history, run.task.headline[0]),
        "settings": {"training": run.recipe.training.model_dump(mode="json"), "method": run.recipe.method},
    }


def _parameters(run: Run) -> tuple[int, int]:
    """How many learn, and how many there are, by the method on its base; those that a fitted head or a method adds included."""
    base = resolve(run.recipe.base, tokenizer=run.recipe.tokenizer)
    loaded = bases.load(base, run.task.head(), seed=run.recipe.seed)
    if run.tokenizer is not None:
        bases.fit(run.tokenizer, loaded.model)
    before = {name: each.numel() for name, each in loaded.model.named_parameters()}
    counts = counted(run.method.apply(loaded), 0, before, run.method)
    return counts.learning, counts.whole
