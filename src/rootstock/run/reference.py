"""What the untouched base says of every row, asked before anything learns and kept on disk by the digest of all that decides it.

A preference is learned beside it. Computed once, it needs no second model in memory, and no pass of one in any step.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.errors import fitting
from rootstock.core.rows import Columns, Encoded, raw
from rootstock.core.task import Batch, Labelled
from rootstock.core.watch import Watch
from rootstock.data import batches, cache
from rootstock.loop import infer, precision
from rootstock.run.features import FIX, Place, Progress, check_budget, tried
from rootstock.run.prepared import Prepared

Feed = Callable[[Encoded], batches.Feed]


@dataclass(frozen=True, kw_only=True)
class Base:
    """The untouched base. model: called only where something is not there yet. digest: of its weights, and the seed where it has none."""

    model: Callable[[], nn.Module]
    digest: str
    place: Place


def asked(prepared: Prepared, model: nn.Module, place: Place, watch: Watch, *, dry: bool) -> tuple[Prepared, float]:
    """The rows of both sides with what their base says beside them, and the seconds of the pass that a rehearsal left out.

    A rehearsal brings zeros, which cost nothing. Raises UsageError where the budget is too short for the pass.
    """
    task = prepared.task
    if not isinstance(task, Labelled) or not task.asks_base:
        return prepared, 0.0
    told = digest(prepared.base.digest, prepared.recipe.seed, scratch=bool(prepared.base.scratch))
    base = Base(model=lambda: model, digest=told, place=place)
    parts = prepared.encoded, prepared.encoded_validation
    seconds = _seconds(prepared, task, base, watch) if dry or prepared.recipe.budget.minutes else 0.0
    if dry:
        first, second = (_beside(part, _blank(task, model, prepared.feed(part), place)) for part in parts)
        watch.say(f"reference {len(first):,} + {len(second):,} rows {f'will take about {seconds:.0f} s' if seconds else 'from the cache'}")
    else:
        progress = Progress(
            watch, sum(int(part.lengths.sum()) for part in parts), what="reference the untouched base passes every row once"
        )
        first, second = (known(task, part, prepared.feed, base, progress) for part in parts)
        watch.say(f"reference {len(first):,} + {len(second):,} rows {'computed once' if progress.rows else 'from the cache'}")
    return replace(prepared, encoded=first, encoded_validation=second), seconds if dry else 0.0


def _seconds(prepared: Prepared, task: Labelled, base: Base, watch: Watch) -> float:
    """About how long the rows that the cache lacks take; UsageError where that leaves no time of the budget to learn."""
    parts = prepared.encoded, prepared.encoded_validation
    missing = [part for part in parts if cache.recall("reference", _key(task, part, base)) is None]
    model = base.model().to(base.place.device)
    with precision.computing(model, base.place.dtype):
        passed = partial(infer.infer, model, answer=partial(_say, task), device=base.place.device)
        seconds = sum(tried(prepared, part, passed) for part in missing)
    check_budget(prepared, seconds, elapsed=time.monotonic() - watch.started)
    return seconds


def known(task: Labelled, part: Encoded, feed: Feed, base: Base, progress: Progress | None = None) -> Encoded:
    """Rows with what the base says of them, from the cache where it is there; Interrupted where asked to stop."""

    def passed(rows: np.ndarray) -> None:
        if progress:
            progress.add(int(part.lengths[rows].sum()), rows=len(rows))

    def compute() -> dict[str, np.ndarray]:
        model = base.model().to(base.place.device)
        with precision.computing(model, base.place.dtype), fitting("a pass of the base", fix=FIX):
            return dict(infer.infer(model, feed(part), partial(_say, task), device=base.place.device, passed=passed))

    return _beside(part, cache.remembered("reference", _key(task, part, base), compute)[0])


def digest(weights: str, seed: int, *, scratch: bool) -> str:
    """What tells two untouched bases apart: weights that are drawn are those of a seed."""
    return f"{weights}/{seed}" if scratch else weights


def _say(task: Labelled, model: nn.Module, batch: Batch) -> Columns:
    return task.reference(model, batch)


def _beside(part: Encoded, columns: Columns) -> Encoded:
    return replace(part, dense={**part.dense, **columns})


def _blank(task: Labelled, model: nn.Module, feed: batches.Feed, place: Place) -> Columns:
    """Columns of zeros of the names and kinds that the task gives, told by one row."""
    row = next(iter(feed.micro_batches(np.arange(1))))
    with torch.inference_mode():
        found = task.reference(model.to(place.device), infer.to_device(row, place.device))
    return {name: np.zeros(len(feed.encoded), values.dtype) for name, values in found.items()}


def _key(task: Labelled, part: Encoded, base: Base) -> dict[str, Any]:
    """All that decides what is said of a row."""
    return {
        "base": base.digest,
        "task": catalog.name_of("tasks", type(task)),
        "tokens": {name: artifact.digest_bytes(raw(ragged.flat), raw(ragged.offsets)) for name, ragged in part.tokens.items()},
        "dtype": str(base.place.dtype),
        "device": base.place.device.type,
        "version": 1,
    }
