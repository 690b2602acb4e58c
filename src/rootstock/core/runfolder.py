"""A run carried out: a folder that explains itself."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rootstock.core import artifact
from rootstock.core.errors import RecipeError, UsageError, nearest
from rootstock.core.recipe import Recipe
from rootstock.core.stages import StagedRecipe

_FILES = ("recipe.yaml", "manifest.json", "ledger.json", "plan.json", "history.jsonl", "metrics.json", "predictions.parquet")
_BESIDE = ("warm-up.jsonl", "seen.safetensors", "canaries.csv", "README.md", "report.html", "probes.json", "probes.html", "model.sig")
SCANS = ("backdoor", "bias", "memorisation", "poisoning")
"""Scans whose result may lie in the folder of the run that it is about: each a .json, and a page of the same name where it has one."""
_FOLDERS = ("checkpoints", "model", "merged", "track", "stages", "parts")
_WRITTEN = frozenset((*_FILES, *_BESIDE, *_FOLDERS, *(f"{scan}{end}" for scan in SCANS for end in (".json", ".html"))))


CONTRACT = "contract.json"
_HOLDS = {"base": dict, "labels": list, "task": dict, "method": dict, "saves": str, "fresh": list}
"""What every contract holds, of these kinds."""


@dataclass(frozen=True)
class RunFolder:
    """The names of what a run leaves behind. manifest.json is written last: a folder without it is a run that has not ended."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, hardware, seed and the digest of every file."""
        return self.path / "manifest.json"

    @property
    def history(self) -> Path:
        """One JSON object an event."""
        return self.path / "history.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Saved moments."""
        return self.path / "checkpoints"

    @property
    def alone(self) -> bool:
        """Whether this is no run but the folder of a model that travels without one: its contract is all that is known of it."""
        return (self.path / CONTRACT).is_file()

    @property
    def model(self) -> Path:
        """What plain transformers or peft loads."""
        return self.path if self.alone else self.path / "model"

    @property
    def stages(self) -> Path:
        """The runs of a recipe that lists stages, a folder each."""
        return self.path / "stages"

    @property
    def staged(self) -> list["RunFolder"]:
        """The stages in their order, once all have ended; none where this is a run by itself."""
        named = self.json("manifest.json").get("stages", []) if self.stages.is_dir() and self.complete else []
        return [RunFolder(self.stages / each["name"]) for each in named]

    @property
    def last(self) -> "RunFolder":
        """The run whose model answers: that of the last stage, or this one."""
        return (self.staged or [self])[-1]

    def part(self, name: str) -> "RunFolder":
        """One of the tasks of a run on several: a run folder of its own."""
        return RunFolder(self.path / "parts" / name)

    @property
    def parts(self) -> list[str]:
        """Names of the tasks of a run on several that has ended; none elsewhere."""
        return sorted(each.parent.name for each in self.path.glob("parts/*/manifest.json"))

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return self.manifest.exists() or self.alone

    @property
    def begun(self) -> bool:
        """Whether a run of any state is in the folder; a recipe alone may be the user's own."""
        return self.manifest.exists() or (self.recipe.exists() and ((self.path / "ledger.json").exists() or self.stages.is_dir()))

    @property
    def learned(self) -> bool:
        """Whether a run that has begun, or a stage of it, has made an update, or was fitted and measured."""
        return any(_told(path) for path in (self.history, *self.path.glob("stages/*/history.jsonl")) if path.is_file())

    @property
    def going_on(self) -> str:
        """The command that goes on with a run that has not ended."""
        return f"rootstock run {shlex.quote(str(self.recipe))} --resume"

    def strangers(self) -> list[str]:
        """Names in the folder that no run writes: somebody's own files."""
        return sorted(each.name for each in self.path.iterdir() if each.name not in _WRITTEN and not each.name.endswith(".part"))

    def json(self, name: str) -> Any:
        """One of the run's JSON files, an object; a missing or damaged one is a UsageError."""
        return artifact.read_json(
            self.path / name, wanted="the folder of a run that has ended", fix="name a run folder, or resume the run first"
        )


def _told(history: Path) -> bool:
    with history.open(encoding="utf-8", errors="replace") as lines:
        return any(f'"event": "{kind}"' in line for line in lines for kind in ("step", "evaluation"))


def read_contract(folder: Path) -> dict[str, Any]:
    """The contract beside a model; UsageError where it is missing, or damaged so that it no longer says what has to be met."""
    wanted, fix = "the folder of a model", "restore it, or run again"
    found = artifact.read_json(folder / CONTRACT, wanted=wanted, fix=fix)
    lost = sorted({key for key, kind in _HOLDS.items() if not isinstance(found.get(key), kind)} | {"length"} - found.keys())
    if lost or not all(isinstance(found[part].get(key), str) for part, key in (("base", "sha256"), ("task", "name"), ("method", "name"))):
        raise UsageError(
            f"{folder / CONTRACT} is damaged: {', '.join(lost) or 'base, task or method'} can't be read", wanted=wanted, fix=fix
        )
    return found


def no_run(folder: RunFolder) -> UsageError:
    """What is wrong with a folder that holds no finished run."""
    if folder.begun:
        fix = f"go on with it: {folder.going_on}"
        return UsageError(f"{folder.path} holds a run that has not ended", wanted="a finished run", fix=fix)
    beside = folder.path.parent.iterdir() if folder.path.parent.is_dir() else ()
    near = nearest(folder.path.name, [each.name for each in beside if each != folder.path and RunFolder(each).begun])
    state = "holds no run" if folder.path.exists() else "does not exist"
    fix = f"did you mean {folder.path.with_name(near)}?" if near else "name the folder that adapt wrote"
    return UsageError(f"{folder.path} {state}", wanted="a run folder", fix=fix)


def read_recipe(path: Path) -> Recipe:
    """The recipe of one run from YAML; relative paths in it are taken from its folder.

    Raises RecipeError for a missing file, broken YAML, a wrong key or several stages.
    """
    found = read_any(path)
    if isinstance(found, StagedRecipe):
        raise RecipeError(f"{path} lists stages", wanted="the recipe of one run", fix="name the recipe.yaml of one of its stages")
    return found


def read_any(path: Path) -> Recipe | StagedRecipe:
    """A recipe of one run or of several stages, as `read_recipe` reads it."""
    if path.is_dir():
        inside = path / "recipe.yaml"
        raise RecipeError(f"{path} is a folder", wanted="a YAML file", fix=f"did you mean {inside}?" if inside.exists() else "")
    try:
        values = yaml.load(path.read_text("utf-8"), _Loader)
    except FileNotFoundError:
        raise RecipeError(
            f"there is no recipe {path}", wanted="a YAML file", fix="`rootstock recipe show` prints one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} can't be read: {error}", wanted="a YAML file in UTF-8") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"{path}{where}: {' '.join(str(problem).split())}", wanted="YAML", fix="correct the file") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds no keys", wanted="a mapping with base, task, data, method …")
    return built(values).anchored(path.resolve().parent)


def built(values: Mapping[str, Any]) -> Recipe | StagedRecipe:
    """A recipe of the kind that its keys tell. Raises RecipeError for a wrong key."""
    return StagedRecipe.build(values, "") if "stages" in values else Recipe.build(values, "")


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice, where YAML's own rule would be lost in silence: the last one wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, or a ConstructorError on the second of two equal keys."""
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} occurs twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def recipe_text(recipe: Recipe | StagedRecipe) -> str:
    """A recipe as YAML."""
    text: str = yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True, width=120)
    return text
