"""Learn several tasks at once, each from rows of its own, over one shared model.

Prefer it where the tasks have something in common and some have few rows; where they have not, a run for each is as good and simpler.
Encoders get one head a part; models that write (text-to-text) get one output layer for all, so give each part a prefix of its own.
A batch holds rows of one part only; data.mix says how often each part's turn comes. The state that is kept is the one whose mean over the
parts, of the figure that decides for each of them, is best. Caruana 1997, https://doi.org/10.1023/A:1007379606734
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, PrivateAttr, field_validator
from torch import nn

from rootstock.core.errors import RecipeError
from rootstock.core.figures import ERRORS, WORST
from rootstock.core.heads import Heads
from rootstock.core.loaded import Head
from rootstock.core.rows import Encoded, Several
from rootstock.core.seed import Draw
from rootstock.core.settings import Settings
from rootstock.core.task import Batch, Labelled, Loss, Task

MEAN = "mean_of_parts"
"""The figure that decides."""
_PART = "part"


class Part(Settings):
    """One of the tasks: its rows, what is learned from them, and how much it counts."""

    data: dict[str, Any] = Field(default_factory=dict)
    """Its rows, as in the recipe's section data; what is not set here is taken from there."""
    task: dict[str, Any] = Field(default_factory=lambda: {"name": "auto"})
    """Its task and the settings of that, as in the recipe's section task. auto goes by its label column."""
    weight: float = Field(default=1.0, gt=0)
    """Its loss is multiplied by this."""


class MultiTask(Task):
    """Parts by name; a name of letters, digits, - and _, which is also that of the part's folder."""

    parts: dict[str, Part] = Field(default_factory=dict)
    """The tasks: data, task and weight of each. `--part NAME=FILE` names a file of rows."""
    _tasks: dict[str, Labelled] = PrivateAttr(default_factory=dict)

    @field_validator("parts")
    @classmethod
    def _named(cls, parts: dict[str, Part]) -> dict[str, Part]:
        strange = [name for name in parts if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii()]
        if strange:
            raise ValueError(f"names of letters, digits, - and _; {strange[0]!r} is none")
        return parts

    def joined(self, tasks: Mapping[str, Labelled]) -> Self:
        """The same task knowing the task of each part, with its labels; RecipeError where they can't share a model."""
        held = list(tasks.values())
        writing = [name for name, task in tasks.items() if task.writes]
        if writing and (len(writing) < len(held) or len({task.head().auto for task in held}) > 1):
            other = next((name for name in tasks if name not in writing), list(tasks)[-1])
            raise RecipeError(
                f"{writing[0]} writes with the base's own output layer, and {other} needs another",
                wanted="parts that each have a head, or parts that all write with one layer",
                fix="train them in two runs",
            )
        made = self.model_copy()
        made._tasks = dict(tasks)
        return made

    @property
    def writes(self) -> bool:
        """Whether all parts use the base's own output layer, so that there is no head beside it."""
        return any(task.writes for task in self._tasks.values())

    @property
    def headline(self) -> tuple[str, ...]:
        """The mean over parts."""
        return (MEAN,)

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The mean over parts of the figure that decides for each of them."""
        return (MEAN,)

    def mean(self, figures: Iterable[float]) -> float:
        """What the parts reached, each counting alike."""
        return float(np.mean(list(figures)))

    def figures(self, found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The figures of each part by name as part/figure, after their mean.

        A correlation or share that is not defined counts as 0, which is none; for an error nothing can stand, so that there is no mean.
        """
        flat = {f"{part}/{name}": value for part, each in found.items() for name, value in each.items()}
        names = {part: self._tasks[part].chosen_by[0] for part in found}
        if any(name in ERRORS and name not in found[part] for part, name in names.items()):
            return flat
        return {MEAN: self.mean(found[part].get(name, 0.0) for part, name in names.items()), **flat}

    def merit(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """Of how many parts the first figure that decides is defined, and its mean over these; where both tie, the same of the second."""
        merits = []
        for part, task in self._tasks.items():
            merits.append(
                task.merit({name.removeprefix(f"{part}/"): each for name, each in figures.items() if name.startswith(f"{part}/")})
            )
        reached = [[each for each in level if each > WORST] for level in zip(*merits, strict=False)]
        return tuple(told for level in reached for told in (float(len(level)), self.mean(level) if level else 0.0))

    @property
    def less(self) -> bool:
        """Whether less of the mean is better: where a loss decides for every part."""
        return all(task.chosen_by[0] in ERRORS for task in self._tasks.values())

    def head(self) -> Head:
        """A head for each part, or the one that all of them write with."""
        heads = {name: task.head() for name, task in self._tasks.items()}
        return next(iter(heads.values())) if self.writes else Head(auto="", parts=heads)

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """A batch of the one part that the rows are of, and its number."""
        assert isinstance(encoded, Several)
        number, within = encoded.within(rows)
        made = list(self._tasks.values())[number].collate(encoded.parts[number], within, tokenizer, draw)
        return {**made, _PART: torch.tensor(number)}

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """The part's loss times its weight."""
        name = list(self._tasks)[int(batch[_PART])]
        heads = Heads.within(model)
        given = {key: value for key, value in batch.items() if key != _PART}
        loss = self._tasks[name].loss(heads.part(name) if heads else model, given)
        return Loss(loss.total * self.parts[name].weight, loss.count)

    def check(self, model: nn.Module) -> None:
        """As each part would."""
        heads = Heads.within(model)
        for name, task in self._tasks.items():
            task.check(heads.alone(name) if heads else model)
