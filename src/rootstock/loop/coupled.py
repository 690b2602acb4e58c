"""Gradients of a loss that couples all rows of an update, in the memory of one micro-batch (GradCache).

All vectors first, without gradients; then the loss on them and its gradient with respect to each; then every micro-batch once more, with
its share. The batches themselves, small beside what a pass leaves behind, are kept from the first pass to the second. What a model draws at
random (dropout) is drawn alike both times. Gao et al. 2021, arXiv:2101.06983.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rootstock.core.coupled import Coupled
from rootstock.core.task import Batch, Loss
from rootstock.loop.checkpoint import random_state, set_random_state
from rootstock.loop.crew import Crew
from rootstock.loop.world import World

Batches = Callable[[np.ndarray], Iterable[Batch]]
Couple = Callable[[Tensor, Tensor | None], Loss]


class Passed(NamedTuple):
    """Summed loss, its count, and padded tokens of some rows."""

    loss: float
    items: int
    tokens: int


class _Seen(NamedTuple):
    """A micro-batch, its vectors, and the generator's state before they were computed."""

    batch: Batch
    vectors: Tensor
    random: dict[str, Tensor]


@dataclass(frozen=True)
class Talk:
    """With the other workers of an update. spare: this one has no row of it, and was given one only to take part."""

    world: World
    spare: bool

    def coupled(self, couple: Couple, vectors_NVH: Tensor, labels_N: Tensor | None) -> tuple[Loss, Tensor]:
        """The loss of all workers' rows, and its gradient with respect to this one's.

        All compute it; its value, and its gradient with respect to what the model brings, count on the first alone.
        """
        own = slice(0, 0 if self.spare else len(vectors_NVH))
        all_NVH, start = self.world.vectors(vectors_NVH[own])
        all_N = None if labels_N is None else self.world.vectors(labels_N[own])[0]
        if self.world.first:
            loss, gradient_NVH = _coupled(couple, all_NVH, all_N)
        else:
            found = couple(all_NVH.requires_grad_(), all_N)
            (gradient_NVH,) = torch.autograd.grad(found.total, all_NVH)
            loss = Loss(found.total.detach() * 0, 0)
        held = torch.zeros_like(vectors_NVH)
        held[own] = gradient_NVH[start : start + own.stop]
        return loss, held


def coupled_gradients(crew: Crew, task: Coupled, shards: Sequence[np.ndarray], batches: Batches, talk: Talk | None = None) -> Passed:
    """Leave the gradients of one update with the crew's members, each its own. talk: with the workers that have the other rows of it."""
    made = list(crew.each(lambda _, rows: list(batches(rows)), shards))  # once: to collate images is to make their views
    tokens = sum(padded_tokens(batch) for part in made for batch in part)
    if talk is None and len(made) == len(made[0]) == 1:
        return _passed(_backward(task.loss(crew.models[0], made[0][0])), tokens)

    def look(model: nn.Module, part: list[Batch]) -> list[_Seen]:
        with torch.no_grad():
            return [_Seen(random=random_state(), batch=batch, vectors=task.embed(model, batch)) for batch in part]

    seen = crew.gradients(look, made)
    after = random_state()
    vectors_NVH = torch.cat([each.vectors for part in seen for each in part])
    labels = [each.batch["labels"] for part in seen for each in part if "labels" in each.batch]
    labels_N = torch.cat(labels) if labels else None
    couple = partial(task.couple, crew.models[0])
    loss, gradient_NVH = _coupled(couple, vectors_NVH, labels_N) if talk is None else talk.coupled(couple, vectors_NVH, labels_N)
    told = iter(torch.split(gradient_NVH, [len(each.vectors) for part in seen for each in part]))
    work = [[(each, next(told)) for each in part] for part in seen]

    def learn(model: nn.Module, part: list[tuple[_Seen, Tensor]]) -> None:
        for each, gradient in part:
            if len(crew.models) == 1:
                set_random_state(each.random)
            torch.autograd.backward(task.embed(model, each.batch), gradient)

    crew.gradients(learn, work)
    set_random_state(after)
    return _passed(loss, tokens)


def _coupled(couple: Couple, vectors_NVH: Tensor, labels_N: Tensor | None) -> tuple[Loss, Tensor]:
    loss = _backward(couple(vectors_NVH.requires_grad_(), labels_N))
    assert vectors_NVH.grad is not None
    return loss, vectors_NVH.grad


def padded_tokens(batch: Batch) -> int:
    """Padded tokens of a batch; rows where it holds vectors or images."""
    return batch["input_ids"].numel() if "input_ids" in batch else len(next(iter(batch.values())))


def _backward(loss: Loss) -> Loss:
    torch.autograd.backward(loss.total)
    return loss


def _passed(loss: Loss, tokens: int) -> Passed:
    return Passed(loss.total.item(), loss.count, tokens)
