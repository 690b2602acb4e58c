"""What a run on several tasks leaves behind: a run folder for each part, a model in it that stands alone, and all of them side by side."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.bases import save as saving
from rootstock.core import artifact
from rootstock.core.errors import RunFailed
from rootstock.core.heads import Heads, states
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.seed import derive
from rootstock.core.watch import Watch
from rootstock.evaluation import intervals
from rootstock.loop.history import read
from rootstock.report import several as report
from rootstock.run import contract as contracts
from rootstock.run import ending, finish
from rootstock.run.build import Built, build
from rootstock.run.prepared import Joint, LabelledRows
from rootstock.tasks.multi_task import MEAN

Event = dict[str, Any]


def conclude(prepared: Joint, built: Built, folder: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the best state on each part and write all of it; returns the content of metrics.json."""
    prepared = replace(prepared, parts={name: _trained(part, prepared) for name, part in prepared.parts.items()})
    events, found, draws = read(folder.history), {}, []
    owners = _owners(prepared, built, events)
    for name, part in prepared.parts.items():
        place, own = folder.part(name), _alone(prepared, built, name)
        together = {"learned_with": [each for each in prepared.parts if each != name]}
        _begin(place, part.ledger, recipe_text(part.recipe), _own(events, owners, name))
        artifact.write_json(place.path / "plan.json", folder.json("plan.json"))
        task, measured = finish.measured(part, own, place, facts | {"best_by": list(part.task.chosen_by)} | together)
        figure = task.chosen_by[0]
        judged = task.judged({key: np.asarray(values) for key, values in measured.columns.items()})
        how, seed = intervals.tallied(task, judged, (figure,)), derive(prepared.recipe.seed, "interval", name)
        draws.append(intervals.draws(judged, how, names=(figure,), seed=seed)[:, 0])
        finish.write(part, own, place, task, measured)
        found[name] = measured.metrics
    metrics = _metrics(prepared, found, np.mean(draws, axis=0)) | facts
    _write(prepared, built, folder, metrics, events)
    return metrics


def _trained(part: LabelledRows, prepared: Joint) -> LabelledRows:
    """The part with all that was found in the training itself, such as a rate."""
    return replace(part, recipe=part.recipe.model_copy(update={"training": prepared.recipe.training}))


def _begin(place: RunFolder, ledger: dict[str, Any], recipe: str, events: list[Event]) -> None:
    """What the folder of a part says before its figures are known."""
    artifact.write_json(place.path / "ledger.json", ledger)
    artifact.write_text(place.recipe, recipe)
    artifact.write_text(place.history, "".join(json.dumps(event) + "\n" for event in events))


def _alone(prepared: Joint, built: Built, name: str) -> Built:
    """The part's model as its own run would have built it, with what was learned."""
    part = prepared.parts[name]
    training = part.recipe.training.model_copy(update={"cache_layers": "no"})
    own = build(replace(part, recipe=part.recipe.model_copy(update={"training": training, "track": None})), None, Watch())
    learned, wanted = dict(states(built.learner, name)), own.learner.state_dict()
    if lacking := sorted(wanted.keys() - learned.keys()):
        raise RunFailed(f"{len(lacking)} weights of {name} did not find their place, such as {lacking[0]}", wanted="what was learned")
    own.learner.load_state_dict({key: learned[key] for key in wanted})
    heads = Heads.within(built.learner)
    if not heads or prepared.saves == "adapter":
        return own
    prefix = heads.part(name).base_model_prefix
    shared = {f"{prefix}.{key}" for key in heads.shared()}

    def save(place: Path) -> None:
        own.save(place)
        saving.split(place, shared)

    return replace(own, save=save)


def _owners(prepared: Joint, built: Built, events: list[Event]) -> dict[int, str]:
    """The part that each update learned from."""
    names, owners, epoch = list(prepared.parts), dict[int, str](), 0
    steps = iter(event["step"] for event in events if event["event"] == "step")
    step = next(steps, None)
    while step is not None:
        for rows in built.feed.epoch(epoch):
            if step is not None:
                owners[step] = names[prepared.encoded.within(rows)[0]]  # type: ignore[attr-defined]
                step = next(steps, None)
        epoch += 1
    return owners


def _own(events: list[Event], owners: Mapping[int, str], name: str) -> list[Event]:
    """The events that concern a part: its updates, and its own figures of each evaluation."""
    found = []
    for event in events:
        if event["event"] == "step":
            found += [event] if owners[event["step"]] == name else []
        else:
            figures = {key.removeprefix(f"{name}/"): value for key, value in event.items() if "/" not in key or key.startswith(f"{name}/")}
            found.append(figures)
    return found


def _metrics(prepared: Joint, found: Mapping[str, dict[str, Any]], draws_R: np.ndarray) -> dict[str, Any]:
    figures = prepared.task.figures({name: each["metrics"] for name, each in found.items()})
    rows, mean = sum(each["rows"] for each in found.values()), figures.get(MEAN)
    between = intervals.interval(draws_R, mean, rows, within=None) if mean is not None else None
    names = ", ".join(f"{name}'s {part.task.chosen_by[0]}" for name, part in prepared.parts.items())
    shown = f" [{between[0]:.3f}, {between[1]:.3f}]" if between else ""
    told = "not defined on these rows" if mean is None else f"{mean:.3f}{shown}; it chose the state that is kept"
    return {
        "rows": rows,
        "metrics": {} if mean is None else {MEAN: mean},
        "intervals": {MEAN: list(between)} if between else {},
        "parts": dict(found),
        "verdict": f"mean of {names}: {told}",
    }


def _write(prepared: Joint, built: Built, folder: RunFolder, metrics: dict[str, Any], events: list[Event]) -> None:
    artifact.write_json(folder.path / "metrics.json", metrics)
    heads = Heads.within(built.learner)
    if prepared.saves == "model" or not heads:
        with artifact.whole_folder(folder.model) as beside:
            if heads:
                saving.save_body(heads, prepared.tokenizer, beside)
            else:
                built.save(beside)
            contracts.write(contracts.made(prepared, built, prepared.task), beside)
    saving.link_equal([folder.model, *(folder.part(name).model for name in prepared.parts)])
    rows = {side: sum(len(getattr(part, side)) for part in prepared.parts.values()) for side in ("train", "validation")}
    manifest = ending.manifest(prepared, prepared.task, rows)
    facts = {
        "name": folder.path.name,
        "manifest": manifest,
        "metrics": metrics,
        "history": events,
        "plan": folder.json("plan.json"),
        "recipe": prepared.recipe.plain(),
        "choices": prepared.choices,
        "saves": prepared.saves,
        "whole": folder.model.exists(),
        "shares": dict(zip(prepared.parts, prepared.shares or (), strict=False)),
        "heads": {name: part.task.head().auto for name, part in prepared.parts.items()},
        "rows": {name: part.ledger["rows"] for name, part in prepared.parts.items()},
    }
    artifact.write_text(folder.path / "README.md", report.card(facts))
    artifact.write_text(folder.path / "report.html", report.page(facts))
    ending.seal(folder, manifest)
