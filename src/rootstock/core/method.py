"""Which parameters learn, how fast, and from when on."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rootstock.core.coupled import Lesson
from rootstock.core.loaded import Head, Loaded
from rootstock.core.rows import Columns
from rootstock.core.settings import Settings


@dataclass(frozen=True)
class Tap:
    """Where frozen meets trained: everything below is computed once a row, everything above learns.

    body: takes a batch's inputs and gives one vector a row, [B, H]. head: takes these vectors, gives an object with .logits.
    key: what besides base and tokens decides the vectors; part of the cache's digest. width: H.
    """

    body: nn.Module
    head: nn.Module
    key: str
    width: int
    linear: str | None = None
    """The head's name in the model, where it is one fresh linear layer and nothing more."""


@dataclass(frozen=True)
class Saved:
    """What a method left in a folder, where that can be put beside a base which others use at the same time.

    updates: A [R, I] and B [O, R] of each matrix that becomes W + B·A, by the module's name in the base. tensors: whole parameters by
    their names in the model, the head's above all; where a whole model was saved, all of them.
    """

    updates: Mapping[str, tuple[Tensor, Tensor]]
    tensors: Mapping[str, Tensor]


class Answer:
    """What a transformers model returns, as far as tasks read it."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


class OnVectors(nn.Module):
    """A head on cached vectors of width H; takes [B, H] also where the module itself reads the first of many positions."""

    def __init__(self, head: nn.Module, width: int) -> None:
        super().__init__()
        self.head = head
        self.flat = isinstance(head, nn.Linear) or _takes_vectors(head, width)

    def forward(self, features: Tensor) -> Answer:
        """Answers of cached vectors [B, H]."""
        return Answer(self.head(features if self.flat else features[:, None]))


@torch.no_grad()
def _takes_vectors(head: nn.Module, width: int) -> bool:
    try:
        return bool(head(torch.zeros(1, width, device=next(head.parameters()).device)).dim() == 2)
    except (IndexError, RuntimeError):
        return False


def zeroed(head: nn.Linear) -> nn.Linear:
    """A linear head that starts at zero: on frozen features its loss is convex, so the start decides nothing and needs no random number."""
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head


MOST_EPOCHS = 20
"""However few the rows: what more passes would teach is the rows by heart."""


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """What the base learns from the training rows before the head does: `coupled`, on the tap's vectors and the rows' labels.

    updates: at least so many where a label tells one of two classes, and more of more.
    """

    coupled: Lesson
    epochs: float
    updates: int
    rate: float
    batch_tokens: int


LARGE_BASE = 50_000_000
"""Parameters below which a base learns best at rates of its own; the smaller BERTs have at most 42 million. Turc et al. 2019,
https://arxiv.org/abs/1908.08962"""


class Method(Settings, ABC):
    """A way to adapt a model. Subclasses are final and live in one file each."""

    epochs: ClassVar[float]
    """Passes over the rows that the method usually needs."""
    updates: ClassVar[int] = 0
    """Updates that it needs at least to learn yes from no: few rows, and rows of many classes, are seen more often for it."""
    rate: ClassVar[float]
    """Peak learning rate that suits it: methods compared at one rate are compared unfairly."""
    large_rate: ClassVar[float | None] = None
    """The same on a trained base of text with LARGE_BASE parameters or more, where its authors say; None where nobody does."""
    batch_tokens: ClassVar[int] = 1024
    """Padded tokens of one update that suit it."""
    weight_decay: ClassVar[float] = 0.01
    """AdamW's decay that suits it."""
    base_dropout: ClassVar[float | None] = None
    """Dropout inside the base that suits it; None leaves the base's own."""
    flops: ClassVar[float] = 6
    """Operations for each parameter and token: 2 forward, 2 for gradients of what flows, 2 for gradients of weights."""
    trained: ClassVar[float] = 1.0
    """Share of the base's parameters that learn, roughly: each takes a gradient and two moments."""
    frozen: ClassVar[bool] = False
    """Whether the base never changes, so that only a head can learn."""
    saves: ClassVar[str] = "model"
    """What it leaves behind: "model" (whole weights) or "adapter" (beside its base, with the base's digest)."""
    folds: ClassVar[bool] = True
    """Whether an adapter can become part of the base's own weights; where not, nothing can be merged and no base can be pre-trained."""
    packed: ClassVar[float | None] = None
    """Bytes of a weight in the base's frozen matrices, where the method keeps them in fewer than they are computed with."""

    @property
    def leaves(self) -> str:
        """What it leaves behind under its settings: as `saves`, or "head" (like an adapter, but nothing folds it into its base)."""
        return self.saves

    @property
    def at_once(self) -> bool:
        """Whether `fit` learns all there is to learn from the tapped rows, so that no step is taken."""
        return False

    @property
    def votes(self) -> bool:
        """Whether answers jump where vectors differ by rounding, as votes of neighbours do."""
        return False

    @classmethod
    def stands_for(cls, name: str) -> str | None:
        """The setting under which this method is what others call `name`, such as "method.kind=hra"; None where it is not."""
        return None

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """Refuse a head, or a base with this config.json, that the method can't work with: RecipeError, saying what would fit.

        Called before anything is loaded.
        """

    @property
    def positions(self) -> int:
        """Positions of the base that the method takes for itself: a row has so many fewer."""
        return 0

    @property
    def builds_on(self) -> tuple[str, ...]:
        """Runs or folders of adapters that it builds on: each must be over the very base, with its tokenizer, that the run starts from."""
        return ()

    @classmethod
    def passes(cls, updates: int, classes: int = 2) -> float:
        """Epochs that suit rows which give so many updates an epoch. A label among C classes holds log2(C) bits: as many times more."""
        needed = cls.updates * math.log2(max(classes, 2))
        return max(cls.epochs, min(MOST_EPOCHS, math.ceil(needed / max(updates, 1))))

    @abstractmethod
    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze, inject or wrap, and return the model to train. Fresh parameters stay trainable."""

    def groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]]:
        """Optimizer groups: each trainable parameter's name once, with its rate."""
        return [{"names": [name for name, _ in learning(model)], "rate": rate}]

    def advance(self, model: nn.Module, progress: float) -> None:
        """Called before each update with the share of training done, in [0, 1).

        It may change requires_grad and values in place; the model's twins on other cores see nothing else of it.
        """

    def turns(self, model: nn.Module) -> Sequence[float]:
        """Shares of the training, in (0, 1), at which `advance` lets other parameters learn. Where there are any, it does nothing else."""
        return ()

    def revise(self, values: Mapping[str, Tensor], progress: float) -> Iterable[str]:
        """Called after each update with the fp32 values of all that learns, by name: changes some in place and returns their names.

        It decides by these values and the progress alone, or a resumed run would be another.
        """
        return ()

    def tap(self, model: nn.Module, loaded: Loaded) -> Tap | None:
        """The border below which nothing learns, where the method has one."""
        return None

    def warm_up(self) -> WarmUp | None:
        """What all below the border learns before it is frozen, where the method wants that."""
        return None

    def fit(self, head: nn.Module, columns: Columns) -> str:
        """Fit a tapped head to all rows' vectors ("features") and "labels" at once; returns what was found. Asked where `at_once`."""
        raise NotImplementedError(f"{type(self).__name__} learns by steps")

    def original(self, name: str) -> str:
        """The name that a parameter had before `apply`."""
        return name

    def keep(self, model: nn.Module) -> nn.Module:
        """The model to save: the same outputs, in a form that plain transformers or peft loads."""
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        """The same outputs as one plain model; an adapter is folded into its base. MergeRefused where that can't be."""
        return self.keep(model)

    def saved(self, folder: Path) -> Saved | None:
        """What is beside the base in a folder; None where that is more than products of low rank and whole parameters."""
        return None

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """Base and saved adapter together again, for methods that save one; ContractRefused where a tensor is missing."""
        raise NotImplementedError(f"{type(self).__name__} saves whole models")


def learning(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that learn."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def train_only(model: nn.Module, names: Iterable[str]) -> None:
    """Freeze everything but the named parameters."""
    keep = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in keep)
