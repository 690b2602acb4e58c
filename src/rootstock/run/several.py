"""Several tasks at once: each part prepared as if it stood alone, then joined under one method and one loop."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rootstock import catalog
from rootstock.bases.resolve import Resolved
from rootstock.core.coupled import Coupled
from rootstock.core.errors import RecipeError, about
from rootstock.core.heads import Heads
from rootstock.core.method import Method
from rootstock.core.objective import Objective
from rootstock.core.recipe import DataSettings, Recipe
from rootstock.core.rows import SOURCE, Encoded, Ragged, Several
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data import batches
from rootstock.data.unlabelled import check_mix
from rootstock.run import choices, labelled, labelled_pictures, unlabelled
from rootstock.run.build import Built
from rootstock.run.measure import measure
from rootstock.run.prepared import Joint, LabelledRows, Others
from rootstock.tasks.multi_task import MultiTask

_ALONE = Others()
NAME = "multi-task"
_OWN = ("train", "mix", "languages", "exclude")
"""Keys of the recipe's data that no part takes from there."""


def meant(recipe: Recipe) -> bool:
    """Whether the recipe asks for several tasks: by name, or by naming parts."""
    name = recipe.task.get("name", "auto")
    return name == NAME or (name == "auto" and "parts" in recipe.task)


def prepare(recipe: Recipe, say: Say, others: Others = _ALONE) -> Joint:
    """Make every choice that the recipe leaves open, for each part and for all of them, saying each with its reason."""
    task = MultiTask.build({key: value for key, value in recipe.task.items() if key != "name"}, "task")
    alone = {name: _alone(recipe, task, name) for name in task.parts}
    _check(recipe, alone)
    check_mix(recipe.data.mix, len(alone), "part")
    base = choices.base_for(recipe, say)
    parts = {name: _part(name, each, base, say, others) for name, each in alone.items()}
    task = task.joined({name: part.task for name, part in parts.items()})
    encoded, held = (_joined([getattr(part, side) for part in parts.values()]) for side in ("encoded", "encoded_validation"))
    classes = max(len(getattr(part.task, "labels", ())) or 2 for part in parts.values())
    _check_method(recipe, task)
    method, why = choices.method_for(recipe, base, encoded, say, task=task, classes=classes)
    batch = min(choices.batch_tokens(method, part.task) for part in parts.values())  # who needs small updates learns nothing in large ones
    epochs = recipe.training.epochs or choices.epochs(recipe, method, encoded.lengths, classes, say, batch)
    usual = choices.usual_of(method, epochs) | {"batch_tokens": batch, "rate": choices.rate(recipe, base, method, task, say)}
    settled = choices.resolved(recipe, base, _settled(task, parts), method, columns={}, usual=usual)
    shared = {"method": settled.method, "training": settled.training, "base": settled.base, "tokenizer": settled.tokenizer}
    parts = {name: replace(part, method=method, recipe=part.recipe.model_copy(update=shared)) for name, part in parts.items()}
    return Joint(
        recipe=settled,
        base=base,
        tokens=next(iter(parts.values())).tokens,
        task=task,
        method=method,
        encoded=encoded,
        encoded_validation=held,
        ledger={"parts": {name: part.ledger for name, part in parts.items()}},
        length=max(part.length for part in parts.values()),
        sources={f"{name}, {side}": facts for name, part in parts.items() for side, facts in part.sources.items()},
        choices={"method": why, "schema": []},
        shares=unlabelled.mixed(recipe, encoded, tuple(parts), say),
        parts=parts,
    )


def glance(prepared: Joint, built: Built) -> dict[str, float]:
    """What decides how good the present state is, measured on each part, with its mean."""
    heads = Heads.within(built.learner)
    found = {}
    for name, part in prepared.parts.items():
        learner = heads.alone(name) if heads else built.learner
        own = replace(built, learner=learner, feed_validation=part.feed(part.encoded_validation))
        found[name] = part.task.metrics(part.task.judged(measure(part, own, part.task, glance=True)))
    return prepared.task.figures(found)


def _alone(recipe: Recipe, task: MultiTask, name: str) -> Recipe:
    """The recipe of a part alone, with whatever is said for all parts."""
    part = task.parts[name]
    common = {key: value for key, value in recipe.data.plain().items() if key not in _OWN}
    data = DataSettings.build({**common, **part.data}, f"task.parts.{name}.data")
    method = {"name": "full"} if recipe.method.get("name", "auto") == "auto" else recipe.method
    # what all share is settled, and said, once
    training = recipe.training.model_copy(update={"epochs": recipe.training.epochs or 1, "rate": recipe.training.rate or Objective.rate})
    return recipe.model_copy(update={"data": data, "task": part.task, "method": method, "training": training})


def _check(recipe: Recipe, alone: Mapping[str, Recipe]) -> None:
    """Raise for what can be no part, and for names and keys that do not exist, before any row is read."""
    if len(alone) < 2:
        raise RecipeError(
            f"task.parts names {len(alone)} part{'s' * (len(alone) != 1)}", wanted="two or more", fix="name them with --part NAME=FILE"
        )
    if recipe.data.train:
        raise RecipeError("data.train is set, and each part brings rows of its own", wanted="task.parts alone", fix="leave data.train out")
    if recipe.teacher.run:
        raise RecipeError("teacher.run is set, and each part would need its own", wanted="one task", fix="leave teacher out")
    choices.check_unused(recipe, ("languages", "exclude", "canaries"), "all parts at once")
    choices.check(recipe.model_copy(update={"task": {**recipe.task, "name": NAME}}))
    for name, each in alone.items():
        if not each.data.train:
            raise RecipeError(f"the key 'task.parts.{name}.data.train' is missing", wanted="its rows", fix=f"add it, or --part {name}=FILE")
        with about(name):
            choices.check(each)
        kind = each.task.get("name", "auto")
        found = None if kind == "auto" else catalog.find("tasks", kind)
        if found and (not issubclass(found, Labelled) or issubclass(found, Coupled) or found.asks_base or found.reads != "texts"):
            raise _unfit(name, kind)
        if not found and labelled_pictures.meant(each):
            raise _unfit(name, "image-classification")


def _unfit(name: str, kind: str) -> RecipeError:
    return RecipeError(
        f"{kind} can be no part of several tasks, as {name} is", wanted="a task on labelled texts", fix="give it a run of its own"
    )


def _check_method(recipe: Recipe, task: MultiTask) -> None:
    """Raise RecipeError where the method that is asked for ties itself to one head."""
    settings = dict(recipe.method)
    name = settings.pop("name", "auto")
    if name == "auto" or task.writes:
        return
    method: Method = catalog.find("methods", name).build(settings, "method")
    if method.positions:
        raise RecipeError(
            f"{name} puts vectors before each row by way of one head, and parts have several",
            wanted="a method that works inside the base",
            fix="choose --method lora or full",
        )


def _part(name: str, recipe: Recipe, base: Resolved, say: Say, others: Others) -> LabelledRows:
    say(f"part      {name}")
    with about(name):
        part = labelled.prepare(recipe, say, base, others)
    if part.task.packs:
        raise RecipeError(f"{name} packs its rows, and parts share their updates", wanted="rows of their own", fix="leave task.packing out")
    if part.task.asks_base or isinstance(part.task, Coupled):
        raise _unfit(name, part.recipe.task["name"])
    return part


def _settled(task: MultiTask, parts: Mapping[str, LabelledRows]) -> MultiTask:
    """The same task with every choice of each part filled in."""
    settled = {}
    for name, part in task.parts.items():
        found = parts[name].recipe
        data = {key: value for key, value in found.data.plain().items() if key not in ("mix", "languages")}
        settled[name] = part.model_copy(update={"data": data, "task": found.task})
    return task.model_copy(update={"parts": settled})


def _joined(parts: list[Encoded]) -> Several:
    """Rows of all parts after each other, with what they have in common: the ids of their texts, and digests of all the rest."""
    return Several(
        tokens={"input_ids": Ragged.joined([part.tokens["input_ids"] for part in parts])},
        dense={
            SOURCE: np.repeat(np.arange(len(parts), dtype=np.int16), [len(part) for part in parts]),
            "content": np.concatenate([batches.digests(part) for part in parts]),
        },
        lengths=np.concatenate([part.lengths for part in parts]),
        parts=tuple(parts),
    )
