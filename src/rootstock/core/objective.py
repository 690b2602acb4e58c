"""What is learned without labels: the data itself gives the answers.

Shape letters: N rows, B rows in a batch, V views of a row, H width.
"""

import math
import sys
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from rootstock.core.loaded import Loaded
from rootstock.core.rows import Columns
from rootstock.core.task import Batch, Loss, Task


class Objective(Task):
    """A task whose labels are made from the data itself. Its rows are documents (column "text") unless `reads` says otherwise.

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

    def outfit(self, loaded: Loaded) -> Loaded:
        """The model with what only pre-training needs (a generator, a projection); called before the method is applied."""
        return loaded

    def bare(self, model: nn.Module) -> nn.Module:
        """The model to save: what `outfit` added is taken off again."""
        return model


class Coupled(Objective):
    """An objective whose loss couples all rows of an update, such as one with in-batch negatives.

    The loop computes all vectors without gradients, then the loss on them, then each micro-batch once more with its share of the gradient
    (Gao et al. 2021, arXiv:2101.06983), so the update can be far larger than what fits in memory.
    """

    likelihood: ClassVar[bool] = False

    @abstractmethod
    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Vectors of the rows, [B, V, H], V views a row."""

    @abstractmethod
    def couple(self, model: nn.Module, vectors_BVH: Tensor) -> Loss:
        """Summed loss of all rows of an update; gradients flow to the vectors and to what the model itself brings (a temperature)."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """The rows of one batch coupled with each other."""
        return self.couple(model, self.embed(model, batch))
