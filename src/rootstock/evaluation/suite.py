"""A benchmark's suite of tasks as facts: names, columns, labels, metrics, splits. One YAML file each, found by its name.

Nothing else knows a suite: whoever names a file of this form has another one.
"""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator

from rootstock.core.errors import RecipeError, UnknownName, UsageError
from rootstock.core.settings import Settings

TRAIN, DEV, TEST = "train", "validation", "test"
"""Names of splits, as data sets of the hub have them."""
_PLACE = Path(__file__).parent / "benchmarks"
_STEMS = {DEV: ("validation", "dev", "valid", "val"), TRAIN: ("train",), TEST: ("test",)}
"""What the file of a split is called where a task says nothing else."""


class Member(Settings):
    """One task of a suite."""

    title: str
    """What the benchmark calls it."""
    folders: tuple[str, ...] = ()
    """Names of its folder beside its own name and title."""
    learns_from: str | None = None
    """The task whose trained model answers it; None: its own training rows are learned from."""
    task: Literal["text-classification", "regression"]
    """What is learned."""
    text: tuple[str, ...]
    """Names of the column of the text, the first that a file has."""
    text_pair: tuple[str, ...] = ()
    """Names of the column of the second text."""
    label: tuple[str, ...] = ("label",)
    """Names of the column of the answer."""
    labels: tuple[tuple[str, ...], ...] = Field(default=(), validate_default=True)
    """Classes in their order, each with all its spellings; the first is the one of submissions. F1 is that of the second class."""
    between: tuple[float, float] | None = None
    """Least and largest number that an answer can be; what a model says beyond is submitted as these."""
    metrics: tuple[str, ...] = Field(min_length=1)
    """Figures, the one that is quoted first in front."""
    dev: tuple[str, ...] = (DEV,)
    """Splits that are measured on."""
    files: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Further names of a split's file, without what follows the first point."""
    rows: dict[str, int] = Field(default_factory=dict)
    """How many rows a split has as it was published: another number means other rows, and figures that compare with no others."""
    submission: dict[str, str] = Field(default_factory=dict)
    """Name of the file of answers that the benchmark takes, by split."""

    @field_validator("labels")
    @classmethod
    def _named_where_classes_are_learned(cls, labels: tuple[tuple[str, ...], ...], info: ValidationInfo) -> tuple[tuple[str, ...], ...]:
        if info.data.get("task") == "text-classification" and (len(labels) < 2 or not all(labels)):
            raise ValueError("two classes or more, each with its spellings, as a text-classification has them: [[no], [yes]]")
        return labels

    def stems(self, split: str) -> tuple[str, ...]:
        """What the file of a split may be called, the likeliest first."""
        return tuple(dict.fromkeys((*self.files.get(split, ()), *_STEMS.get(split, (split,)))))

    def spelled(self, label: str) -> str | None:
        """A class as submissions have it; None for what is no class of this task."""
        return next((names[0] for names in self.labels if label in names), None)


class Suite(Settings):
    """A benchmark."""

    title: str
    """Its name."""
    paper: str = ""
    """Where it was published."""
    hub: str | None = None
    """Data set of the hub that has a configuration for each task."""
    average: str = "mean over tasks"
    """How the one number of the suite is defined, in words."""
    averaged: tuple[str, ...] = ()
    """Tasks that this number is made of."""
    index: tuple[str, ...] = ("index", "idx", "id")
    """Names of the column that numbers the rows of a split, for submissions."""
    tasks: dict[str, Member] = Field(min_length=1)
    """Its tasks by name."""

    @field_validator("tasks")
    @classmethod
    def _all_that_are_named(cls, tasks: dict[str, Member], info: ValidationInfo) -> dict[str, Member]:
        named = [*info.data.get("averaged", ()), *(each.learns_from for each in tasks.values() if each.learns_from)]
        if unknown := [name for name in named if name not in tasks]:
            raise ValueError(f"a task called {unknown[0]!r} among them, as averaged or learns_from names it")
        return tasks

    def chosen(self, names: str | None) -> tuple[str, ...]:
        """Tasks that a person names with commas between, or all; one that needs another's model comes with it and after it."""
        asked = [each.strip() for each in names.split(",") if each.strip()] if names else list(self.tasks)
        for name in asked:
            if name not in self.tasks:
                raise UnknownName(f"task of {self.title}", name, self.tasks)
        if not asked:
            raise UsageError("--tasks is empty", wanted=f"some of {', '.join(self.tasks)}")
        needed = {*asked, *(found for name in asked if (found := self.tasks[name].learns_from))}
        return tuple(name for name in self.tasks if name in needed)


def names() -> list[str]:
    """Suites that come with Rootstock."""
    return sorted(each.stem for each in _PLACE.glob("*.yaml"))


def find(name: str) -> Suite:
    """A suite by its name or its file. Raises UnknownName, or RecipeError for a file that is none."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else _PLACE / f"{name}.yaml"
    if not path.is_file() or (path.parent == _PLACE and name not in names()):
        raise UnknownName("benchmark", name, names(), fix="name one of these, or a YAML file of that form")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {' '.join(str(error).split())}", wanted="YAML in UTF-8", fix="correct the file") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds no keys", wanted="title, tasks …", fix="docs/benchmark.md shows a whole one")
    return Suite.build(values, path.name)
