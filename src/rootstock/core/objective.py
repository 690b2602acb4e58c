"""What is learned without labels: the data itself gives the answers.

Shape letters: N rows, B rows in a batch, G rows of a group, V views of a row, H width.
"""

import math
import sys
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from rootstock.core.coupled import Coupled
from rootstock.core.loaded import Loaded
from rootstock.core.rows import Columns, Encoded
from rootstock.core.seed import stream
from rootstock.core.task import Batch, Uniform

_GROUP = 32
"""Rows that are told from each other when measured, about so many always: a figure must not rise where cores or batches are others."""


class Objective(Uniform):
    """A task whose labels are made from the data itself. Its rows are documents (column "text") unless `reads` says otherwise.

    encode gives a dense column PART: the row of the table that each encoded row is a piece of. What no row is made of is counted by it.
    decode gives "loss" [B] (nats, summed over the row's items), "count" [B] (its items) and "hits" [B] (items answered right).
    """

    text: str | None = None
    """Field or column of the text in tables. None: found by its name."""

    rate: ClassVar[float] = 1e-3
    """Peak learning rate that suits random weights; a base that was trained before starts at the method's own."""
    batch_tokens: ClassVar[int] = 4096
    """Padded tokens of one update that suit random weights."""
    dropout: ClassVar[float] = 0.0
    """Dropout that suits it: none where masks are drawn anew in each pass."""
    length: ClassVar[int] = 128
    """Tokens of a row, where nothing else is said."""
    reads: ClassVar[Literal["documents", "pairs", "images", "captions"]] = "documents"
    """documents: texts. pairs: a table of text and text_pair. images: a folder of them. captions: a table of image files and texts."""
    likelihood: ClassVar[bool] = True
    """Whether the loss is nats a token, so that perplexity and a unigram model beside it mean something."""

    @property
    def headline(self) -> tuple[str, ...]:
        """The loss first, as it decides."""
        return ("loss", "accuracy")

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The loss alone."""
        return ("loss",)

    def merit(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """The smaller the loss, the better."""
        return (-figures.get("loss", sys.float_info.max),)

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """loss (nats an item), accuracy, and where the loss is a likelihood perplexity and bits per byte (with "bytes" [N])."""
        total, items = (float(np.sum(columns[name], dtype=np.float64)) for name in ("loss", "count"))
        if not items:
            return {}
        found = {"loss": total / items, "accuracy": float(np.sum(columns["hits"], dtype=np.float64)) / items}
        if self.likelihood:
            found["perplexity"] = math.exp(min(found["loss"], 700.0))
        if self.likelihood and "bytes" in columns:
            found["bits_per_byte"] = total / math.log(2) / float(np.sum(columns["bytes"]))
        return found if names is None else {name: found[name] for name in names if name in found}

    def check_rows(self, encoded: Encoded) -> None:
        """Refuse rows that nothing can be learned from: told all of those to learn from at once, before anything is spent."""

    def fit(self, train: Encoded) -> Self:
        """The same task knowing what it must of all rows to learn from, such as how common each token is: also when others are measured."""
        return self

    def decided(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch with whatever the loss would let the model choose by chance: rounding must not move the loss of two like models."""
        return batch

    def outfit(self, loaded: Loaded) -> Loaded:
        """The model with what only pre-training needs (a generator, a projection); called before the method is applied."""
        return loaded

    def bare(self, model: nn.Module) -> nn.Module:
        """The model to save: what `outfit` added is taken off again."""
        return model


class Contrastive(Coupled, Objective):
    """An objective whose rows are told from each other, in an update and, when measured, from some 30 others (`in_groups`)."""

    likelihood: ClassVar[bool] = False

    @abstractmethod
    def told(self, model: nn.Module, vectors_GVH: Tensor) -> dict[str, Tensor]:
        """Results of rows that are told from each other, each [G]: "loss", "count", "hits" and what more `metrics` wants."""

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """The vectors of each row: what they are worth shows beside others only, whichever batch these are in."""
        return {"vectors": self.embed(model, batch).float().cpu().numpy()}


@torch.no_grad()
def in_groups(task: Contrastive, model: nn.Module, vectors_NVH: np.ndarray) -> Columns:
    """Results of all rows, each told from the rest of a group: the same on any machine. Of a row alone nothing is known, count 0.

    Groups are drawn, as rows stand by document and by class folder: told from its neighbours alone a row would be told from its like.
    """
    order_N = stream(0, "groups").permutation(len(vectors_NVH))
    device = next(model.parameters()).device
    groups = np.array_split(order_N, max(1, round(len(order_N) / _GROUP)))
    found = [task.told(model, torch.from_numpy(vectors_NVH[rows]).to(device)) for rows in groups]
    back_N = np.argsort(order_N)
    columns = {name: torch.cat([each[name] for each in found]).double().cpu().numpy()[back_N] for name in found[0]}
    alone = dict.fromkeys(("loss", "count", "hits"), np.zeros(1)) if len(order_N) == 1 else {}
    return {**columns, **alone}
