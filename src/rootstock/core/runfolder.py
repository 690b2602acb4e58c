"""A run carried out: a folder that explains itself."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rootstock.core import artifact
from rootstock.core.errors import RecipeError
from rootstock.core.recipe import Recipe

_FILES = ("recipe.yaml", "manifest.json", "ledger.json", "plan.json", "history.jsonl", "metrics.json", "predictions.parquet")
_BESIDE = (
    "warm-up.jsonl",
    "seen.safetensors",
    "README.md",
    "report.html",
    "probes.json",
    "probes.html",
    "checkpoints",
    "model",
    "merged",
    "track",
)
_WRITTEN = frozenset((*_FILES, *_BESIDE))


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
    def model(self) -> Path:
        """What plain transformers or peft loads."""
        return self.path / "model"

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return self.manifest.exists()

    @property
    def begun(self) -> bool:
        """Whether a run of any state is in the folder; a recipe alone may be the user's own."""
        return self.manifest.exists() or (self.recipe.exists() and (self.path / "ledger.json").exists())

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


def read_recipe(path: Path) -> Recipe:
    """A recipe from YAML; relative paths in it are taken from its folder.

    Raises RecipeError for a missing file, broken YAML or a wrong key.
    """
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
    return Recipe.build(values, "").anchored(path.resolve().parent)


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


def recipe_text(recipe: Recipe) -> str:
    """A recipe as YAML."""
    text: str = yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True, width=120)
    return text
