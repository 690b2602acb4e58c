"""What another model says of every row, asked before anything learns and kept on disk by the digest of all that decides it.

A preference is learned beside its untouched base, a student beside its teacher. Asked once, neither is in memory while it learns, and no
step waits for a pass of it.
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
from rootstock.run.features import FIX, Progress, check_budget, tried
from rootstock.run.prepared import Place, Prepared

Feed = Callable[[Encoded], batches.Feed]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A model that is asked. model: called only where something is not there yet. says: its answers to a batch, an array each of [B].

    key: all that decides them beside the rows: digests of weights and task, and the seed where weights are drawn.
    place: with fp32 a model computes in the format that it has.
    """

    kind: str
    model: Callable[[], nn.Module]
    says: Callable[[nn.Module, Batch], Columns]
    key: dict[str, Any]
    place: Place


def asked(prepared: Prepared, model: nn.Module, place: Place, watch: Watch, *, dry: bool) -> tuple[Prepared, float]:
    """The rows of both sides with what their base says beside them, and the seconds of the pass that a rehearsal left out.

    A rehearsal brings zeros, which cost nothing. Raises UsageError where the budget is too short for the pass.
    """
    task = prepared.task
    if not isinstance(task, Labelled) or not task.asks_base:
        return prepared, 0.0
    told = digest(prepared.base.digest, prepared.recipe.seed, scratch=bool(prepared.base.scratch))
    base = untouched(task, lambda: model, told, place)
    parts = prepared.encoded, prepared.encoded_validation
    seconds = _seconds(prepared, base, watch) if dry or prepared.recipe.budget.minutes else 0.0
    if dry:
        first, second = (beside(part, blank(base, prepared.feed(part), len(part))) for part in parts)
        watch.say(f"reference {len(first):,} + {len(second):,} rows {f'will take about {seconds:.0f} s' if seconds else 'from the cache'}")
    else:
        progress = Progress(
            watch, sum(int(part.lengths.sum()) for part in parts), what="reference the untouched base passes every row once"
        )
        first, second = (beside(part, known(base, part, prepared.feed, progress)) for part in parts)
        watch.say(f"reference {len(first):,} + {len(second):,} rows {'computed once' if progress.rows else 'from the cache'}")
    return replace(prepared, encoded=first, encoded_validation=second), seconds if dry else 0.0


def _seconds(prepared: Prepared, base: Asked, watch: Watch) -> float:
    """About how long the rows that the cache lacks take; UsageError where that leaves no time of the budget to learn."""
    parts = prepared.encoded, prepared.encoded_validation
    missing = [part for part in parts if cache.recall(base.kind, _key(base, part)) is None]
    model = base.model().to(base.place.device)
    with precision.computing(model, base.place.dtype):
        passed = partial(infer.infer, model, answer=base.says, device=base.place.device)
        seconds = sum(tried(prepared.feed(part), passed) for part in missing)
    check_budget(prepared, seconds, elapsed=time.monotonic() - watch.started)
    return seconds


def untouched(task: Labelled, model: Callable[[], nn.Module], told: str, place: Place) -> Asked:
    """The base as it was before anything learned. told: its digest."""
    key = {"base": told, "task": catalog.name_of("tasks", type(task))}
    return Asked(kind="reference", model=model, says=task.reference, key=key, place=place)


def known(who: Asked, part: Encoded, feed: Feed, progress: Progress | None = None) -> Columns:
    """What is said of rows, from the cache where it is there; Interrupted where asked to stop."""

    def passed(rows: np.ndarray) -> None:
        if progress:
            progress.add(int(part.lengths[rows].sum()), rows=len(rows))

    def compute() -> dict[str, np.ndarray]:
        model = who.model().to(who.place.device)
        with precision.computing(model, who.place.dtype), fitting("a pass of the model that is asked", fix=FIX):
            return together(infer.infer(model, feed(part), who.says, device=who.place.device, passed=passed))

    return cache.remembered(who.kind, _key(who, part), compute)[0]


def together(columns: Columns) -> dict[str, np.ndarray]:
    """Rows of different sizes as one array, nan behind each; the others as they are."""
    made = {}
    for name, values in columns.items():
        made[name] = np.asarray(values)
        if values.dtype == object:
            sizes = [max(sides) for sides in zip(*(each.shape for each in values), strict=True)]
            made[name] = np.full((len(values), *sizes), np.nan, np.float32)
            for row, each in zip(made[name], values, strict=True):
                row[tuple(map(slice, each.shape))] = each
    return made


def digest(weights: str, seed: int, *, scratch: bool) -> str:
    """What tells two untouched bases apart: weights that are drawn are those of a seed."""
    return f"{weights}/{seed}" if scratch else weights


def beside(part: Encoded, columns: Columns) -> Encoded:
    """Rows with more columns."""
    return replace(part, dense={**part.dense, **columns})


def blank(who: Asked, feed: batches.Feed, count: int) -> Columns:
    """Columns of zeros of the names and kinds that are said of rows, told by one of the longest."""
    row = next(iter(feed.micro_batches(np.argsort(-feed.encoded.lengths, kind="stable")[:1])))
    with torch.inference_mode():
        found = together(who.says(who.model().to(who.place.device), infer.to_device(row, who.place.device)))
    return {name: np.zeros((count, *values.shape[1:]), values.dtype) for name, values in found.items()}


def _key(who: Asked, part: Encoded) -> dict[str, Any]:
    """All that decides what is said of a row."""
    rows = {name: artifact.digest_bytes(raw(array)) for name, array in part.arrays().items() if name != "dense/labels"}
    return {**who.key, "rows": rows, "dtype": str(who.place.dtype), "device": who.place.device.type, "version": 2}
