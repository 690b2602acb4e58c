"""What is known before a model is built."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import torch

from rootstock.bases.resolve import Resolved
from rootstock.core.method import Method
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.rows import Encoded
from rootstock.core.task import Labelled, Task
from rootstock.data import batches


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recipe with every choice made, what it learns from encoded and accounted for. recipe: resolved, enough to run again.

    length: tokens that are kept of a row, in training and later: what was asked for, or all that the base takes.
    shares: of each corpus in an epoch, where there are several.
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


@dataclass(frozen=True, kw_only=True)
class LabelledRows(Prepared):
    """A task on labelled rows: both sides of the split with their texts and labels."""

    task: Labelled
    train: pa.Table
    validation: pa.Table


@dataclass(frozen=True, kw_only=True)
class Unlabelled(Prepared):
    """An objective on data that brings no labels. counts: documents (or images) on each side; the texts themselves are not kept."""

    task: Objective
    counts: dict[str, int]


def device_name() -> str:
    """Where models run."""
    return "cuda" if torch.cuda.is_available() else "cpu"
