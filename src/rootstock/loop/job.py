"""What one training needs to be told."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from rootstock.core.method import Method
from rootstock.core.recipe import TeacherSettings, TrainingSettings
from rootstock.core.task import Batch, Loss
from rootstock.loop.checkpoint import Checkpoint
from rootstock.loop.world import World

if TYPE_CHECKING:
    from rootstock.loop.sharded import Sharded  # torch's FSDP takes a second to import

Score = tuple[float, ...]


class Learned(Protocol):
    """What is learned, as far as the loop asks it: a task, or a part of one."""

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """Figures that decide which state is the best."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Summed loss of a batch."""
        ...


class Feed(Protocol):
    """Batches of training rows, the same for the same epoch however often it is asked for."""

    def epoch(self, number: int) -> list[np.ndarray]:
        """Row numbers of each update of an epoch."""
        ...

    def rounds(self, number: int) -> list[int]:
        """The round of each update of an epoch: in each, rows come once and have draws of their own."""
        ...

    def shards(self, rows: np.ndarray, count: int) -> list[np.ndarray]:
        """One update's rows in at most `count` parts of like cost."""
        ...

    def passes(self, rows: np.ndarray, beside: int = 1) -> int:
        """How many micro-batches these rows make."""
        ...

    def micro_batches(self, rows: np.ndarray, beside: int = 1, *, epoch: int = -1, round: int = 0) -> Iterable[Batch]:
        """Rows as tensors, in parts of which `beside` fit in memory at once, with what is drawn anew in each round of an epoch."""
        ...

    def digest(self, rows: np.ndarray) -> str:
        """What the rows hold, in a few letters."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that one training needs. settings: with epochs, rate and batch_tokens filled in.

    evaluate: the current model's score and what to note of it; scores compare as tuples, larger is better, the second value decides ties.
    note: takes one event for the history. used: token ids that occur in training and validation rows. save: writes a checkpoint.
    teacher: how much what the rows bring of one counts.
    stop: asked after every update. enough: whether the training ends after so many updates, before its time.
    seconds: wall-clock limit, counted from `started` (time.monotonic).
    world: the workers that learn together. shards: what this one holds of the model, where none holds all of it.
    """

    model: nn.Module
    task: Learned
    method: Method
    feed: Feed
    settings: TrainingSettings
    dtype: torch.dtype
    fresh: frozenset[str]
    accelerator: Accelerator
    evaluate: Callable[[], tuple[Score, dict[str, float]]]
    note: Callable[[dict[str, Any]], None]
    save: Callable[[Checkpoint], None]
    used: np.ndarray | None = None
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    stop: Callable[[], bool] = lambda: False
    enough: Callable[[int], bool] = lambda step: False
    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)
    world: World = field(default_factory=World)
    shards: "Sharded | None" = None
