"""The arms of a comparison: each a name and the keys of a recipe that it sets otherwise, as methods, bases and grids cross."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import yaml

from rootstock import catalog
from rootstock.bases.resolve import SCRATCH, VOCABULARIES, Resolved
from rootstock.bases.scratch import takes_text
from rootstock.core.errors import BaseError, RecipeError, UsageError, nearest
from rootstock.core.method import Method
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.settings import changed, number

SCRATCH_ARM = "scratch"
"""The name of the baseline among methods: the base's architecture with random weights, all of which learn."""
USUAL = ("feature-extraction", "lora", "full", SCRATCH_ARM)
_FREE = ("method", "training", "augment", "teacher")
"""Sections of a recipe that a grid may vary: the others say what is learned, and from what."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to learn the task. changes: keys of the common recipe that it sets otherwise. method, base: as a person named them."""

    name: str
    method: str
    base: str
    changes: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name as that of a folder."""
        return re.sub(r"[^A-Za-z0-9=.+-]+", "-", self.name).strip("-.")

    def recipe(self, common: Recipe, changes: Mapping[str, Any]) -> Recipe:
        """The common recipe as this arm sets it, with further keys set."""
        return Recipe.build(changed(common.plain(), {**self.changes, **changes}), "")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What crosses to arms. bases: each as it was named, resolved. sweeps: values of keys. settings: of methods, where they have them."""

    methods: tuple[str, ...]
    bases: Mapping[str, Resolved]
    sweeps: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Crossed:
    """All arms; what of the grid does not reach which of them, in words; and which could not be made at all, by name with the reason."""

    arms: tuple[Arm, ...]
    notes: tuple[str, ...]
    skipped: Mapping[str, str]


def crossed(grid: Grid, common: Recipe) -> Crossed:
    """Every method on every base with every value of the keys that it has.

    Raises UnknownName for a method that is not there, RecipeError for a value that a method does not take or a key that none has.
    """
    classes = {name: _class(name) for name in grid.methods}
    notes = [_reach(key, classes) for key in (*grid.sweeps, *grid.settings) if key.startswith("method.")]
    arms: list[Arm] = []
    skipped: dict[str, str] = {}
    for method, (base, resolved) in product(grid.methods, grid.bases.items()):
        try:
            start = _start(method, base, resolved, common)
        except BaseError as error:
            skipped[_name(method, base, {}, grid)] = error.found
            continue
        settings = {key: value for key, value in grid.settings.items() if _has(classes[method], key)}
        for values in _points(grid.sweeps, classes[method]):
            arm = Arm(name=_name(method, base, values, grid), method=method, base=base, changes={**start, **settings, **values})
            _check(arm, classes[method], common)
            arms.append(arm)
    if len({arm.key for arm in arms}) < len(arms):
        raise UsageError("two arms have the same name", wanted="methods, bases and values that are named once", fix="name each once")
    return Crossed(tuple(arms), tuple(filter(None, notes)), skipped)


def read_sweep(text: str) -> tuple[str, tuple[Any, ...]]:
    """A key and its values as a person writes them: method.r=4,8,16 or method.targets=[query],[query,value]."""
    key, sign, values = text.partition("=")
    example = "a key and its values with commas between, such as --sweep method.r=4,8,16"
    if not (key and sign and values.strip()):
        raise UsageError(f"--sweep {text}", wanted=example)
    if key.split(".")[0] not in _FREE or "." not in key or key == "method.name":
        fix = "use --methods" if key == "method.name" else "use --bases" if key == "base" else ""
        raise UsageError(f"--sweep {key}: it can't be varied", wanted=f"a key of {', '.join(_FREE)}", fix=fix)
    try:
        found = yaml.safe_load(f"[{values}]")
    except yaml.YAMLError:
        raise UsageError(f"--sweep {text}: the values are no YAML", wanted=example) from None
    told = [number(each) if isinstance(each, str) and number(each) is not None else each for each in found]
    if len({str(each) for each in told}) < max(len(told), 2):
        fix = f"give --set {key}={values}" if len(told) == 1 else "give each value once"
        raise UsageError(
            f"--sweep {text} leaves no choice" if len(told) < 2 else f"--sweep {text} has a value twice", wanted=example, fix=fix
        )
    return key, tuple(told)


def _class(name: str) -> type[Method]:
    if name == "auto":
        raise UsageError("--methods holds auto", wanted="methods by their names, or scratch", fix="name those that are to be compared")
    found: type[Method] = catalog.find("methods", "full" if name == SCRATCH_ARM else name)
    return found


def _has(method: type[Method], key: str) -> bool:
    return not key.startswith("method.") or key.split(".")[1] in method.model_fields


def _reach(key: str, classes: Mapping[str, type[Method]]) -> str:
    """Which methods a key does not reach; RecipeError where it reaches none."""
    without = [name for name, each in classes.items() if not _has(each, key)]
    if len(without) == len(classes):
        known = sorted({field for each in classes.values() for field in each.model_fields})
        near = nearest(key.split(".")[1], known)
        wanted = f"one of {', '.join(known)}" if known else "other methods: these have no settings"
        raise RecipeError(f"none of {', '.join(classes)} has the key {key!r}", wanted=wanted, fix=f"did you mean {near!r}?" if near else "")
    return f"{key} is not for {', '.join(without)}, which run once without it" if without else ""


def _points(sweeps: Mapping[str, tuple[Any, ...]], method: type[Method]) -> Iterator[dict[str, Any]]:
    held = {key: values for key, values in sweeps.items() if _has(method, key)}
    return (dict(zip(held, values, strict=True)) for values in product(*held.values()))


def _start(method: str, base: str, resolved: Resolved, common: Recipe) -> dict[str, Any]:
    """Keys that every arm sets. Random weights take the rate of pre-training, unless the recipe names one: what suits a trained base
    does not suit them.
    """
    if method != SCRATCH_ARM:
        return {"base": resolved.reference, "tokenizer": None, "method.name": method}
    rate = {} if common.training.rate is not None else {"training.rate": Objective.rate}
    if resolved.scratch:
        return {"base": resolved.reference, "tokenizer": None, "method.name": "full", **rate}
    if resolved.folder is None or not (resolved.folder / "config.json").is_file():
        raise BaseError(f"{base} is no whole model, so that it names no architecture to begin from scratch with")
    config, told = resolved.folder / "config.json", any((resolved.folder / name).is_file() for name in VOCABULARIES)
    tokenizer = str(resolved.folder) if told and takes_text(str(config)) else None  # a model of images has none
    return {"base": f"{SCRATCH}{config}", "tokenizer": tokenizer, "method.name": "full", **rate}


def _check(arm: Arm, method: type[Method], common: Recipe) -> None:
    settings = dict(arm.recipe(common, {}).method)
    settings.pop("name")
    method.build(settings, "method")


def _name(method: str, base: str, values: Mapping[str, Any], grid: Grid) -> str:
    of_base = [base] if len(grid.bases) > 1 else []
    return " ".join([method, *of_base, *(f"{_short(key, grid.sweeps)}={_spoken(value)}" for key, value in values.items())])


def _short(key: str, keys: Mapping[str, Any]) -> str:
    last = key.rpartition(".")[2]
    return key if sum(each.endswith(f".{last}") for each in keys) > 1 else last


def _spoken(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(_spoken, value))
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
