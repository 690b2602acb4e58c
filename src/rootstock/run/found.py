"""Settings of a training that are found by trying: how many tokens fit at once, and the learning rate."""

import json
from dataclasses import replace
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import Interrupted, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.watch import Say, Watch
from rootstock.loop import range_test
from rootstock.loop.job import Job
from rootstock.loop.world import World
from rootstock.run import largest
from rootstock.run.prepared import Prepared

_SHARE = 0.2
"""Of a budget's minutes, at most, for the range test."""


def usual(prepared: Prepared) -> Prepared:
    """The same with the usual values where something is to be found: for a rehearsal, and for the search itself."""
    training = prepared.recipe.training
    rate = prepared.method.rate if training.rate == "find" else training.rate
    return _with(prepared, rate=rate, micro_tokens=training.micro)


def earlier(folder: RunFolder) -> dict[str, Any]:
    """What was found before a run was stopped."""
    found: dict[str, Any] = folder.json("plan.json").get("found", {}) if (folder.path / "plan.json").exists() else {}
    return found


def known(prepared: Prepared, found: dict[str, Any]) -> Prepared:
    """The recipe with what was found before, where it still asks for it: who goes on may bring it as it was written by hand."""
    training, held = prepared.recipe.training, {"rate": ("rate", "rate"), "micro_tokens": ("micro_tokens", "tokens")}
    return _with(
        prepared, **{key: found[name][value] for key, (name, value) in held.items() if getattr(training, key) == "find" and name in found}
    )


def batch(prepared: Prepared, watch: Watch, world: World | None = None) -> tuple[Prepared, dict[str, Any]]:
    """The recipe with the most tokens at once that fit, where these are to be found, and how they were; by the first of several workers."""
    if prepared.recipe.training.micro_tokens != "find":
        return prepared, {}
    world, told = world or World(), ""
    with world.turn():
        if world.first:
            told = json.dumps(largest.find(usual(prepared), watch.say))
    found = json.loads(world.told(told))
    watch.say(f"batch     {found['reason']}")
    return _with(prepared, micro_tokens=found["tokens"]), {"micro_tokens": found}


def check_memory(recipe: Recipe, peak: int) -> None:
    """Raise UsageError where so many bytes are more than the budget's."""
    memory = recipe.budget.memory_bytes
    if memory is not None and peak > memory:
        raise UsageError(
            f"the run would hold about {peak / 1e9:.2f} GB",
            wanted=f"at most --memory {recipe.budget.memory}",
            fix="give more, lower training.micro_tokens or training.length, or choose --method lora or feature-extraction",
        )


def say_memory(recipe: Recipe, peak: int, say: Say) -> None:
    """Tell where a run held more than its budget."""
    memory = recipe.budget.memory_bytes
    if memory is not None and peak > memory:
        say(f"memory    the run held {peak / 1e9:.2f} GB, more than --memory {recipe.budget.memory}")


def rate(prepared: Prepared, job: Job, watch: Watch, folder: RunFolder) -> tuple[Prepared, dict[str, Any]]:
    """The recipe with a rate, where one is to be found; and how it was."""
    if prepared.recipe.training.rate != "find":
        return prepared, {}
    watch.say(f"rate      a range test of {range_test.STEPS} steps; nothing of it is kept")
    minutes = prepared.recipe.budget.minutes
    try:
        found = range_test.find(job, prepared.method.rate, seconds=_SHARE * 60 * minutes if minutes else None)
    except Interrupted as stop:
        raise Interrupted(stop.found, fix=f"go on with: {folder.going_on}") from None
    watch.say(f"rate      {found.reason}")
    return _with(prepared, rate=found.rate), {"rate": found.plain()}


def keep(folder: RunFolder, recipe: Recipe, found: dict[str, Any]) -> None:
    """Write what was found: first how, then the recipe with it, so that a run that is stopped here finds again or goes on with it."""
    if found:
        artifact.write_json(folder.path / "plan.json", {"found": found})
        artifact.write_text(folder.recipe, recipe_text(recipe))


def _with(prepared: Prepared, **values: Any) -> Prepared:
    training = prepared.recipe.training.model_copy(update=values)
    return replace(prepared, recipe=prepared.recipe.model_copy(update={"training": training}))
