"""Gradients of a loss that couples all rows of an update, in the memory of one micro-batch (GradCache).

All vectors first, without gradients; then the loss on them and its gradient with respect to each; then every micro-batch once more, with
its share. Gao et al. 2021, arXiv:2101.06983. What a model draws at random (dropout) is drawn alike both times.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rootstock.core.objective import Coupled
from rootstock.core.task import Batch, Loss
from rootstock.loop.checkpoint import random_state, set_random_state
from rootstock.loop.crew import Crew

Batches = Callable[[np.ndarray], Iterable[Batch]]


class Passed(NamedTuple):
    """Summed loss, its count, and padded tokens of some rows."""

    loss: float
    items: int
    tokens: int


class _Seen(NamedTuple):
    """Vectors of a micro-batch, and the generator's state before they were computed."""

    vectors: Tensor
    random: dict[str, Tensor]
    tokens: int


def coupled_gradients(crew: Crew, task: Coupled, shards: Sequence[np.ndarray], batches: Batches) -> Passed:
    """Leave the gradients of one update in the crew's first model."""
    if len(shards) == 1 and len(made := list(batches(shards[0]))) == 1:
        return _passed(_backward(task.loss(crew.models[0], made[0])), padded_tokens(made[0]))

    def look(model: nn.Module, rows: np.ndarray) -> list[_Seen]:
        with torch.no_grad():
            return [_Seen(random=random_state(), vectors=task.embed(model, b), tokens=padded_tokens(b)) for b in batches(rows)]

    seen = crew.gradients(look, shards)
    after = random_state()
    vectors_NVH = torch.cat([each.vectors for part in seen for each in part]).requires_grad_()
    loss = _backward(task.couple(crew.models[0], vectors_NVH))
    assert vectors_NVH.grad is not None
    told = iter(torch.split(vectors_NVH.grad, [len(each.vectors) for part in seen for each in part]))
    work = [(rows, [(each.random, next(told)) for each in part]) for rows, part in zip(shards, seen, strict=True)]

    def learn(model: nn.Module, item: tuple[np.ndarray, list[tuple[dict[str, Tensor], Tensor]]]) -> None:
        rows, told = item
        for batch, (random, gradient) in zip(batches(rows), told, strict=True):
            if len(crew.models) == 1:
                set_random_state(random)
            torch.autograd.backward(task.embed(model, batch), gradient)

    crew.gradients(learn, work)
    set_random_state(after)
    return _passed(loss, sum(each.tokens for part in seen for each in part))


def padded_tokens(batch: Batch) -> int:
    """Padded tokens of a batch; rows where it holds vectors or images."""
    return batch["input_ids"].numel() if "input_ids" in batch else len(next(iter(batch.values())))


def _backward(loss: Loss) -> Loss:
    torch.autograd.backward(loss.total)
    return loss


def _passed(loss: Loss, tokens: int) -> Passed:
    return Passed(loss.total.item(), loss.count, tokens)
