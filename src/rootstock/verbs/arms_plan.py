"""What a comparison of methods is asked for: the plan, and its parts as a person writes them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.bases.resolve import resolve
from rootstock.core.errors import UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.settings import changed, check_free
from rootstock.data import ledger
from rootstock.run import labelled_pictures
from rootstock.verbs import api, arms_freeze, arms_rows, tasks_on_ray
from rootstock.verbs.arms import USUAL, Grid, read_sweep
from rootstock.verbs.compare_plan import counts, listed

_OWN = {
    "seed": "--seeds says how many are tried, from 0 on",
    "base": "--bases names them",
    "tokenizer": "each base brings its own",
    "method.name": "--methods names them",
    "data.train": "it is what is compared on",
    "data.rows": "--learning-curve says how many learn",
    "budget": "what may be spent is for all of them together: --minutes",
    "merge": "adapt the winner with --merge",
    "track": "track an adapt of the winner",
}
"""Keys of the recipe that the comparison sets itself, and what to use instead."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare. recipe: what all arms have in common. points: rows that learn, None for all.

    minutes: for everything; None: as long as it takes. halving: whether arms that are beaten stop. keep: whether the winner's run stays.
    freeze: whether the arms are what the probe proposes to freeze, and random freezes of that size. engine: who carries trainings out,
    torch (one after another, here) or ray (side by side).
    """

    recipe: Recipe
    grid: Grid
    points: tuple[int | None, ...] = (None,)
    seeds: int = 3
    minutes: float | None = None
    halving: bool = True
    keep: bool = False
    freeze: bool = False
    engine: str = "torch"

    @property
    def inputs(self) -> list[str]:
        """Everything that is read."""
        given = [str(self.recipe.data.train), self.recipe.data.validation, *(each.reference for each in self.grid.bases.values())]
        return [each for each in given if isinstance(each, str)]


def asked(target: str, given: Mapping[str, Any], changes: Mapping[str, Any]) -> Plan:
    """The plan that options describe. given: their values by name. changes: of --set, --accept among them.

    Raises UsageError for a key that the comparison sets itself, RecipeError and BaseError for what can't be compared on.
    """
    check_free(changes, _OWN, "the comparison")
    of_method = {key: value for key, value in changes.items() if key.startswith("method.")}
    common = {key: value for key, value in changes.items() if key not in of_method}
    recipe, methods, bases = _recipe(target, common)
    arms_rows.check(recipe)
    ledger.check_names(recipe.accept)
    freeze = arms_freeze.check(given)
    if given["bases"] is None and not target.endswith((".yaml", ".yml")) and labelled_pictures.meant(recipe):
        raise UsageError(f"{target} holds images, and no base is named", wanted="bases that read images", fix=arms_rows.IMAGE_BASES)
    methods = ("full",) if freeze else tuple(listed(given["methods"])) if given["methods"] is not None else methods
    bases = tuple(listed(given["bases"])) if given["bases"] is not None else bases
    for option, names in (("methods", methods), ("bases", bases)):
        if not names or len(set(names)) < len(names):
            raise UsageError(f"--{option} names {'one twice' if names else 'none'}", wanted="each once, with commas between")
    sweeps = [read_sweep(each) for each in given["sweep"] or ()]
    if len(dict(sweeps)) < len(sweeps):
        raise UsageError("--sweep names a key twice", wanted="one --sweep with all values of a key")
    if given["keep"] not in (None, "best"):
        raise UsageError(f"--keep is {given['keep']}", wanted="best", fix="give --keep best, or leave it out")
    if given["minutes"] is not None and not 0 < given["minutes"] < math.inf:
        raise UsageError(f"--minutes is {given['minutes']:g}", wanted="more than 0")
    engine = tasks_on_ray.check(given.get("engine") or "torch", recipe.cluster)
    if engine == "ray" and given["minutes"] is not None:
        raise UsageError("--minutes and --engine ray", wanted="one of the two: side by side, minutes are no measure", fix="leave one out")
    found = {base: resolve(_anchored(base)) for base in bases}
    return Plan(
        recipe=recipe,
        grid=Grid(methods=methods, bases=found, sweeps=dict(sweeps), settings=of_method),
        points=counts(given["learning_curve"], "--learning-curve") if given["learning_curve"] is not None else (None,),
        seeds=given["seeds"],
        minutes=given["minutes"],
        halving=given["halving"] and not freeze,
        keep=given["keep"] is not None,
        freeze=freeze,
        engine=engine,
    )


def _anchored(base: str) -> str:
    """A folder by a path that holds wherever the recipe lies; names stay."""
    return Recipe.build({"base": base}, "").anchored(Path.cwd()).base


def _recipe(target: str, changes: Mapping[str, Any]) -> tuple[Recipe, tuple[str, ...], tuple[str, ...]]:
    """What all arms have in common, and the methods and bases that are compared where nobody names any."""
    if target.endswith((".yaml", ".yml")):
        recipe = api.again(Path(target), changes)
        named = str(recipe.method.get("name", "auto"))
        return recipe, USUAL if named == "auto" else (named,), (recipe.base,)
    values = {"data": {"train": target, "validation": arms_rows.VALIDATION_SHARE}}
    recipe = Recipe.build(changed(values, changes), "").anchored(Path.cwd())
    return recipe, USUAL, (recipe.base,)
