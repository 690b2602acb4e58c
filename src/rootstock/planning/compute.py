"""What pre-training costs by formula, and one budget shared out so that every objective gets the same."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from rootstock.core.errors import UsageError
from rootstock.core.method import MOST_EPOCHS

FORMULA = "6 x (N_body + (N_decoder + N_output) x g) FLOPs for each token that is read"
MEANING = (
    "N_body: parameters outside embeddings that a token passes, of the encoder where there is a decoder; N_decoder: those of the decoder; "
    "N_output: weights of the layer over the vocabulary (of cbow: of the candidates alone); g: tokens guessed for each token read. "
    "2 for the forward and 4 for the backward pass; attention's products and look-ups are not counted."
)
MOST_PASSES = float(MOST_EPOCHS)
"""Over the corpus: an objective that is cheap would otherwise learn a small corpus by heart before it has spent as much as the others."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One objective on one architecture. guessed: tokens guessed for each token read. seconds: of a token read, measured.

    update: tokens read in an update. corpus: tokens read in one pass.
    """

    body: int
    decoder: int
    output: int
    guessed: float
    seconds: float
    update: float
    corpus: float

    @property
    def flops(self) -> float:
        """Of each token read."""
        return 6 * (self.body + (self.decoder + self.output) * self.guessed)


@dataclass(frozen=True)
class Budget:
    """The same for every objective. seconds: of all of them together, spent so that each gets the same FLOPs."""

    kind: Literal["flops", "tokens", "seconds"]
    amount: float

    def __post_init__(self) -> None:
        if not 0 < self.amount < math.inf:
            raise UsageError(f"the budget is {self.amount:g} {self.kind}", wanted="more than nothing, and an end")


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one objective gets. capped: it met the limit of passes before the budget's end."""

    tokens: float
    flops: float
    passes: float
    steps: int
    seconds: float
    capped: bool


def share_out(costs: Mapping[str, Cost], budget: Budget) -> dict[str, Share]:
    """Tokens and updates of each objective. The same tokens are never capped: all of them would be."""
    if budget.kind == "tokens":
        return {name: _share(cost, budget.amount, budget.amount) for name, cost in costs.items()}
    flops = budget.amount if budget.kind == "flops" else _flops_for(costs, budget.amount)
    return {name: _of_flops(cost, flops) for name, cost in costs.items()}


def _of_flops(cost: Cost, flops: float) -> Share:
    wanted = flops / cost.flops
    return _share(cost, min(wanted, MOST_PASSES * cost.corpus), wanted)


def _share(cost: Cost, tokens: float, wanted: float) -> Share:
    steps = max(1, round(tokens / cost.update))
    read = steps * cost.update
    return Share(
        tokens=read,
        flops=read * cost.flops,
        passes=read / cost.corpus,
        steps=steps,
        seconds=read * cost.seconds,
        capped=tokens < wanted,
    )


def _flops_for(costs: Mapping[str, Cost], seconds: float) -> float:
    """FLOPs that each objective can have in so many seconds of all of them, by halving; the most that any can use where all end sooner."""
    low, high = 0.0, max(MOST_PASSES * cost.corpus * cost.flops for cost in costs.values())
    for _ in range(60):
        middle = (low + high) / 2
        spent = sum(min(middle / cost.flops, MOST_PASSES * cost.corpus) * cost.seconds for cost in costs.values())
        low, high = (low, middle) if spent > seconds else (middle, high)
    return high


def body(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters outside embeddings and the layer over the vocabulary: the N of a scaling law. model: a transformers model."""
    words = getattr(model.config, "vocab_size", None)
    tables = {id(each.weight) for each in model.modules() if isinstance(each, nn.Embedding)}
    return ((name, each) for name, each in model.named_parameters() if id(each) not in tables and each.shape[:1] != (words,))
