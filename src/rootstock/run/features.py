"""The vectors of a frozen base: one pass of every row, kept on disk by the digest of all that decides them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.core import artifact
from rootstock.core.errors import Interrupted, UsageError, fitting
from rootstock.core.method import Tap
from rootstock.core.rows import Columns, Encoded
from rootstock.core.task import inputs
from rootstock.data import batches, cache
from rootstock.loop import infer, precision
from rootstock.run.prepare import Prepared
from rootstock.run.watch import Watch

_WORTH_SAYING = 5
"""Seconds from which a wait is announced."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and in which number format the base computes."""

    device: torch.device
    dtype: torch.dtype


def remembered(prepared: Prepared, key: str, place: Place) -> tuple[Encoded, Encoded] | None:
    """Training and validation rows as vectors, where the cache holds both. key: the tap's."""
    first, second = (cache.recall("features", _key(prepared, key, part, place)) for part in _parts(prepared))
    return (_of_vectors(prepared.encoded, first), _of_vectors(prepared.encoded_validation, second)) if first and second else None


def compute(prepared: Prepared, tap: Tap, place: Place, watch: Watch) -> tuple[Encoded, Encoded]:
    """Training and validation rows as vectors; UsageError where the budget is too short for them, Interrupted where asked to stop."""
    started, seconds = time.monotonic(), estimate(prepared, tap, place)
    minutes = prepared.recipe.budget.minutes
    if minutes and started - watch.started + seconds > 60 * minutes:
        rows, fewer = sum(map(len, _parts(prepared))), int(len(prepared.encoded) * 30 * minutes / seconds)
        raise UsageError(
            f"the base takes about {seconds:.0f} s for {rows:,} rows",
            wanted=f"at most --minutes {minutes:g}, with time left to learn",
            fix=f"give --minutes {2 * seconds / 60 + 0.5:.1g}, or fewer rows with --set data.rows={fewer}",
        )
    if seconds > _WORTH_SAYING:
        watch.say(f"features  the base passes every row once, in about {seconds:.0f} s")
    progress = _Progress(watch, sum(int(part.lengths.sum()) for part in _parts(prepared)))
    made = []
    with precision.computing(tap.body, place.dtype):
        for part in _parts(prepared):
            feed = prepared.feed(part)

            def passed(rows: np.ndarray, feed: batches.Feed = feed) -> None:
                progress.add(int(feed.encoded.lengths[rows].sum()), rows=len(rows))

            def make(feed: batches.Feed = feed) -> dict[str, np.ndarray]:
                return dict(infer.infer(tap.body, feed, _vectors, device=place.device, passed=passed))

            made.append(_of_vectors(part, cache.remembered("features", _key(prepared, tap.key, part, place), make)[0]))
    return made[0], made[1]


def estimate(prepared: Prepared, tap: Tap, place: Place) -> float:
    """Seconds that all rows take, from one batch of the longest: OutOfMemory where that does not fit."""
    part = max(_parts(prepared), key=lambda each: int(each.lengths.max()))
    feed = prepared.feed(part)
    longest = feed.in_order()[0]
    tokens = len(longest) * int(part.lengths[longest].max())
    with precision.computing(tap.body, place.dtype), fitting(f"a pass of the {len(longest)} longest rows"), torch.inference_mode():
        for _ in range(2):  # the first pass in a process is slow
            started = time.perf_counter()
            for batch in feed.micro_batches(longest):
                _vectors(tap.body.eval(), infer.to_device(batch, place.device))
    each = (time.perf_counter() - started) / tokens
    return each * sum(int(part.lengths.sum()) for part in _parts(prepared))


def blank(prepared: Prepared, width: int) -> tuple[Encoded, Encoded]:
    """Rows with zeros for vectors: enough to try a step of what comes after."""
    first, second = (_of_vectors(part, {"features": np.zeros((len(part), width), np.float32)}) for part in _parts(prepared))
    return first, second


class _Progress:
    """Tells of batches that passed, and asks after each whether to go on."""

    def __init__(self, watch: Watch, tokens: int) -> None:
        self.watch, self.tokens, self.done, self.rows, self.started = watch, tokens, 0, 0, time.perf_counter()

    def add(self, tokens: int, *, rows: int) -> None:
        self.done, self.rows = self.done + tokens, self.rows + rows
        spent = time.perf_counter() - self.started
        self.watch.event({"event": "features", "progress": self.done / self.tokens, "rows": self.rows, "seconds": spent})
        if self.watch.stop() and self.done < self.tokens:
            raise Interrupted("interrupted before training began: nothing was learned yet")


def _parts(prepared: Prepared) -> Sequence[Encoded]:
    return prepared.encoded, prepared.encoded_validation


def _key(prepared: Prepared, tap: str, encoded: Encoded, place: Place) -> dict[str, Any]:
    """All that decides a row's vector."""
    tokens = {name: artifact.digest_bytes(ragged.flat.tobytes(), ragged.offsets.tobytes()) for name, ragged in encoded.tokens.items()}
    return {
        "base": prepared.base.digest,
        "tokens": tokens,
        "tap": tap,
        "dtype": str(place.dtype),
        "device": place.device.type,
        "version": 2,
    }


def _of_vectors(encoded: Encoded, arrays: cache.Arrays) -> Encoded:
    """Rows that hold vectors instead of tokens; each costs one."""
    return Encoded({}, {**encoded.dense, "features": arrays["features"]}, np.ones(len(encoded), dtype=np.int64))


def _vectors(body: nn.Module, batch: Any) -> Columns:
    return {"features": body(**inputs(batch)).float().cpu().numpy()}
