"""A model and its twins: the same weights on several cores at once, each with batches of its own.

A product cut over the cores makes them wait for each other at every layer. Twins don't wait. Each has its own gradients (added up in a
fixed order by `precision.Weights.pull`, so a run still repeats bit for bit) and its own modules, which may keep something from one call to
the next.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import nn

from rootstock.core.loaded import configs
from rootstock.core.twin import same_weights
from rootstock.loop.trim import TrimmedEmbedding

Item = TypeVar("Item")
Done = TypeVar("Done")

FEWEST_TOKENS = 256
"""Tokens of an update that a member must have to itself: products on fewer no longer fill a core's vector units."""


def members(model: nn.Module, budget: int, device: torch.device) -> int:
    """How many twins share an update of `budget` tokens: one where the device is no processor or the model draws at random."""
    return 1 if draws_at_random(model) else most(budget, device.type)


def most(budget: int, device: str) -> int:
    """Twins that an update of `budget` tokens keeps busy."""
    return max(1, min(torch.get_num_threads(), budget // FEWEST_TOKENS)) if device == "cpu" else 1


def draws_at_random(model: nn.Module) -> bool:
    """Whether a training pass asks the one random generator, whose numbers would depend on which core comes first."""
    if any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in model.modules()):
        return True
    told = (vars(part) for part in configs(model.config)) if hasattr(model, "config") else ()
    return any("drop" in key and isinstance(value, float) and value > 0 for part in told for key, value in part.items())


class Crew:
    """A model and count - 1 twins, with a thread for each. One member works in the caller's own thread, on all cores."""

    def __init__(self, model: nn.Module, count: int) -> None:
        self.models = [model, *(twin(model) for _ in range(count - 1))]
        self._cores = torch.get_num_threads()
        each = max(1, self._cores // count)
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(each,)) if count > 1 else None

    def each(self, work: Callable[[nn.Module, Item], Done], items: Iterable[Item]) -> Iterator[Done]:
        """The work on each item by whoever is free, in the order of the items."""
        if self._pool is None:
            yield from (work(self.models[0], item) for item in items)
            return
        free: SimpleQueue[nn.Module] = SimpleQueue()
        for model in self.models:
            free.put(model)

        def one(item: Item) -> Done:
            model = free.get()
            try:
                return work(model, item)
            finally:
                free.put(model)

        yield from self._pool.map(one, items)

    def gradients(self, work: Callable[[nn.Module, Item], Done], shards: Sequence[Item]) -> list[Done]:
        """The work (forward and backward) on each shard by its own member, who keeps the gradients. At most a shard a member."""
        if self._pool is None:
            return [work(self.models[0], shard) for shard in shards]
        self._agree()
        begun = [self._pool.submit(work, model, shard) for model, shard in zip(self.models, shards, strict=False)]
        wait(begun)  # also where one of them failed: whoever begins again must not meet another that is still at work
        return [each.result() for each in begun]

    def share(self, work: Callable[[Item], Done], parts: Sequence[Item]) -> list[Done]:
        """The work on each part, side by side where there are twins; in the order of the parts."""
        return [work(part) for part in parts] if self._pool is None else list(self._pool.map(work, parts))

    def close(self) -> None:
        """Let the threads and the twins go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._cores)  # a pool's setting is also the default of threads that come later
            self._pool, self.models = None, self.models[:1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _agree(self) -> None:
        """A method may have thawed a parameter since the last update."""
        first, *others = (list(model.parameters()) for model in self.models)
        for parameters in others:
            for own, told in zip(parameters, first, strict=True):
                own.requires_grad_(told.requires_grad)


def twin(model: nn.Module) -> nn.Module:
    """The same model once more on the same weights, and on the same whole tables of which it trains some rows."""
    return same_weights(model, [module.table for module in model.modules() if isinstance(module, TrimmedEmbedding)])


def shares(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Names in `count` parts of about the same size, the same for the same sizes: the largest first, each to the smallest part so far."""
    parts: list[list[str]] = [[] for _ in range(count)]
    held = [0] * count
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        place = held.index(min(held))
        parts[place].append(name)
        held[place] += sizes[name]
    return parts
