"""What is known before a model is built."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa
import torch
from torch import nn

from rootstock.bases.resolve import Resolved
from rootstock.core.augment import Write
from rootstock.core.method import Method
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.rows import Encoded
from rootstock.core.task import Labelled, Task
from rootstock.core.watch import Watch
from rootstock.data import batches
from rootstock.data.canaries import Canary
from rootstock.tasks.multi_task import MultiTask


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and in which number format a model computes."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recipe with every choice made, what it learns from encoded and accounted for. recipe: resolved, enough to run again.

    length: tokens that are kept of a row, in training and later: what was asked for, or all that the base takes.
    shares: of each corpus in an epoch, where there are several. canaries: planted among the training rows, and their controls.
    """

    recipe: Recipe
    base: Resolved
    tokens: Callable[[], Any]
    task: Task
    method: Method
    encoded: Encoded
    encoded_validation: Encoded
    ledger: dict[str, Any]
    length: int
    sources: dict[str, Any]
    choices: dict[str, Any]
    shares: tuple[float, ...] | None = None
    canaries: Sequence[Canary] = ()

    def feed(self, encoded: Encoded) -> batches.Feed:
        """Batches of some encoded rows under this recipe's settings."""
        training = self.recipe.training
        assert training.batch_tokens is not None
        tokenizer = self.tokenizer if encoded.tokens else None
        feed = batches.Feed(encoded, self.task, tokenizer, training.batch_tokens, training.micro, self.recipe.seed)
        return replace(feed, shares=self.shares)

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer, read when it is first needed: rows that were encoded before need none."""
        return self.tokens()

    @property
    def saves(self) -> str:
        """What the run leaves behind: "model", "adapter" or "head". A pre-trained base is to be built on, so it is always whole."""
        return "model" if isinstance(self.task, Objective) else self.method.leaves

    @cached_property
    def device(self) -> str:
        """cuda where there is a GPU, else cpu."""
        return device_name()


class Teacher(Protocol):
    """A larger model that a student learns from beside the labels."""

    @property
    def digest(self) -> str:
        """Of its weights."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        ...

    def check(self, task: Labelled, *, pair: bool) -> None:
        """Refuse a student whose rows or answers are others. pair: whether rows have two texts."""
        ...

    def answers(self, rows: pa.Table) -> list[Any]:
        """What it takes rows to be, as labels are written."""
        ...

    def asked(self, prepared: Prepared, model: nn.Module | None, place: Place, watch: Watch, *, dry: bool) -> Prepared:
        """The training rows with its answers beside them. model: the student, where its hidden states are compared as well."""
        ...


@dataclass(frozen=True, kw_only=True)
class Others:
    """Other models that take part in a run. write: what a model writes for texts, for augmentations."""

    teacher: Teacher | None = None
    write: Write | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledRows(Prepared):
    """A task on labelled rows: both sides of the split with their texts and labels.

    learned: all that is learned from: train, then what was made of it, then rows whose label the teacher gave. alone: count of the last.
    """

    task: Labelled
    train: pa.Table
    validation: pa.Table
    learned: pa.Table
    alone: int = 0
    teacher: Teacher | None = None


@dataclass(frozen=True, kw_only=True)
class Joint(Prepared):
    """Several tasks that learn together. parts: each by name, as it would stand alone but for the method and training that all share."""

    task: MultiTask
    parts: dict[str, LabelledRows]


@dataclass(frozen=True, kw_only=True)
class Unlabelled(Prepared):
    """An objective on data that brings no labels. counts: documents (or images) on each side; the texts themselves are not kept."""

    task: Objective
    counts: dict[str, int]


def ledgers(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """The accounts of the rows: by part, or under "" the one that there is."""
    return {name: part.ledger for name, part in prepared.parts.items()} if isinstance(prepared, Joint) else {"": prepared.ledger}


def device_name() -> str:
    """Where models run."""
    return "cuda" if torch.cuda.is_available() else "cpu"
