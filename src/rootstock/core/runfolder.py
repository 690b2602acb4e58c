"""A run carried out: a folder that explains itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rootstock.core.errors import RecipeError, UsageError
from rootstock.core.recipe import Recipe


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
        """Whether a run of any state is in the folder."""
        return self.recipe.exists() or self.manifest.exists()

    def json(self, name: str) -> Any:
        """One of the run's JSON files; a missing one is a UsageError."""
        path = self.path / name
        if not path.exists():
            raise UsageError(
                f"{self.path} has no {name}", wanted="the folder of a run that has ended", fix="name a run folder, or resume the run first"
            )
        return json.loads(path.read_text("utf-8"))


def read_recipe(path: Path) -> Recipe:
    """A recipe from YAML; relative paths in it are taken from its folder.

    Raises RecipeError for a missing file, broken YAML or a wrong key.
    """
    if not path.exists():
        raise RecipeError(f"there is no recipe {path}", wanted="a YAML file", fix="`rootstock recipe show` prints one to start from")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no YAML: {' '.join(str(error).split())}", fix="correct the file") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds {type(values).__name__}", wanted="a mapping with base, task, data, method …")
    return Recipe.build(values, "").anchored(path.resolve().parent)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as YAML."""
    text: str = yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True, width=120)
    return text
