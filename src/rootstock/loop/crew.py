"""One update passed through the model by all cores at once.

A product cut over the cores makes them wait for each other at every layer. Where nothing is drawn at random each core passes rows of its
own instead, through a twin of the model: the same weights, gradients of its own. They are added up in a fixed order, so a run still repeats
bit for bit.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import nn

from rootstock.loop.trim import TrimmedEmbedding

Rows = TypeVar("Rows")
Passed = TypeVar("Passed")

FEWEST_TOKENS = 256
"""Tokens of an update that a member must have to itself: products on fewer no longer fill a core's vector units."""


def members(model: nn.Module, budget: int, device: torch.device) -> int:
    """How many twins pass an update of `budget` tokens side by side: one where the device is no processor or the model draws at random."""
    if device.type != "cpu" or draws_at_random(model):
        return 1
    return max(1, min(torch.get_num_threads(), budget // FEWEST_TOKENS))


def draws_at_random(model: nn.Module) -> bool:
    """Whether a training pass asks the one random generator, whose numbers would depend on which core comes first."""
    if any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in model.modules()):
        return True
    told = vars(getattr(model, "config", object())) if hasattr(model, "config") else {}
    return any("drop" in key and isinstance(value, float) and value > 0 for key, value in told.items())


class Crew(Generic[Rows, Passed]):
    """A model and its twins. work: forward and backward of some rows through one of them."""

    def __init__(self, model: nn.Module, work: Callable[[nn.Module, Rows], Passed], *, count: int) -> None:
        self.models = [model, *(twin(model) for _ in range(count - 1))]
        self.work, self._cores = work, torch.get_num_threads()
        each = max(1, self._cores // count)
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(each,)) if count > 1 else None

    def learn(self, shards: Sequence[Rows]) -> list[Passed]:
        """The work on each shard, in their order; the sum of the gradients is the model's. At most as many shards as members."""
        if self._pool is None:
            return [self.work(self.models[0], shard) for shard in shards]
        self._agree()
        passed = list(self._pool.map(self.work, self.models[: len(shards)], shards))
        self._gather()
        return passed

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._cores)

    def _agree(self) -> None:
        """A method may have thawed a parameter since the last update."""
        first, *others = (list(model.parameters()) for model in self.models)
        for parameters in others:
            for own, told in zip(parameters, first, strict=True):
                own.requires_grad_(told.requires_grad)

    @torch.no_grad()
    def _gather(self) -> None:
        first, *others = (list(model.parameters()) for model in self.models)
        for parameters in others:
            for own, given in zip(first, parameters, strict=True):
                if given.grad is not None:
                    own.grad = given.grad if own.grad is None else own.grad.add_(given.grad)
                    given.grad = None


def twin(model: nn.Module) -> nn.Module:
    """The same model once more on the same weights: a change of one is a change of both, but each has gradients of its own."""
    shared: dict[int, object] = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in model.parameters()}
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    shared |= {id(module.table): module.table for module in model.modules() if isinstance(module, TrimmedEmbedding)}
    return copy.deepcopy(model, shared)
