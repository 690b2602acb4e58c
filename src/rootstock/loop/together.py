"""One update of several workers: each has a share of its rows, and all learn the sums."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from torch import nn

from rootstock.core.coupled import Coupled
from rootstock.core.errors import is_memory_shortage
from rootstock.core.task import Batch, Loss
from rootstock.loop.coupled import Passed, Talk, coupled_gradients
from rootstock.loop.crew import Crew
from rootstock.loop.job import Job


def passes_together(job: Job) -> bool:
    """Whether a pass of one worker takes all others, so that none can begin it again by itself: of shards, and where rows are compared."""
    return job.world.sharded or (job.world.size > 1 and isinstance(job.task, Coupled))


def together(
    rows: np.ndarray,
    job: Job,
    crew: Crew,
    *,
    work: Callable[[nn.Module, np.ndarray], Passed],
    batches: Callable[[np.ndarray], Iterator[Batch]],
    loss: Callable[[nn.Module, Batch], Loss],
) -> Passed:
    """Forward and backward of this worker's share; loss, items and tokens of all rows. Every row goes to one worker, or to all.

    The shares follow from the rows alone, so that all workers know them. Of a model in shards no worker can make a pass without the others:
    one with fewer micro-batches repeats one of them, for nothing. MemoryError on all where one has too little for its share.
    """
    world, feed = job.world, job.feed
    parts = feed.shards(rows, world.size) if world.apart else [rows] * world.size
    own = parts[world.rank] if world.rank < len(parts) else rows[:0]
    shards, short = feed.shards(own, len(crew.models)) if len(own) else [], False
    if isinstance(job.task, Coupled):
        found = coupled_gradients(crew, job.task, shards or [rows[:1]], batches, Talk(world, spare=not shards))
    else:
        found, short = _share(partial(crew.gradients, work, shards), must=passes_together(job))
        spare = max(map(feed.passes, parts)) - (feed.passes(own) if len(own) else 0) if world.sharded else 0
        for _ in range(spare):
            batch = next(batches(own if len(own) else rows[:1]))
            job.accelerator.backward(loss(job.model, batch).total * 0)
    if not world.apart:
        return found
    total, items, tokens, lacking = world.total([*found, short])
    if lacking:
        raise MemoryError("a worker has too little memory for its share of an update")
    return Passed(total, int(items), int(tokens))


def _share(gradients: Callable[[], list[Passed]], *, must: bool) -> tuple[Passed, bool]:
    """What a worker's share gives, and whether there was too little memory for it. must: who waits for it can't be told otherwise."""
    try:
        return Passed(*(sum(column) for column in zip(Passed(0.0, 0, 0), *gradients(), strict=True))), False
    except (MemoryError, RuntimeError) as error:
        if must or not is_memory_shortage(error):
            raise
        return Passed(0.0, 0, 0), True
