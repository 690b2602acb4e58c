"""One update of several workers: each has a share of its rows, and all learn the sums."""

from collections.abc import Callable, Iterator

import numpy as np
from torch import nn

from rootstock.core.coupled import Coupled
from rootstock.core.task import Batch, Loss
from rootstock.loop.coupled import Passed, Talk, coupled_gradients
from rootstock.loop.crew import Crew
from rootstock.loop.job import Job


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
    one with fewer micro-batches repeats one of them, for nothing.
    """
    world, feed = job.world, job.feed
    parts = feed.shards(rows, world.size) if world.apart else [rows] * world.size
    own = parts[world.rank] if world.rank < len(parts) else rows[:0]
    shards = feed.shards(own, len(crew.models)) if len(own) else []
    if isinstance(job.task, Coupled):
        found = coupled_gradients(crew, job.task, shards or [rows[:1]], batches, Talk(world, spare=not shards))
    else:
        done = crew.gradients(work, shards)
        found = Passed(*(sum(column) for column in zip(Passed(0.0, 0, 0), *done, strict=True)))
        spare = max(map(feed.passes, parts)) - (feed.passes(own) if len(own) else 0) if world.sharded else 0
        for _ in range(spare):
            batch = next(batches(own if len(own) else rows[:1]))
            job.accelerator.backward(loss(job.model, batch).total * 0)
    if not world.apart:
        return found
    total, items, tokens = world.total(found)
    return Passed(total, int(items), int(tokens))
