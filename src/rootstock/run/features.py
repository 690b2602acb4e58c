"""The vectors of a frozen base: one pass of every row, kept on disk by the digest of all that decides them."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.core import artifact
from rootstock.core.errors import UsageError, fitting
from rootstock.core.method import Tap
from rootstock.core.resources import peak_memory
from rootstock.core.rows import PIXELS, Columns, Encoded, raw
from rootstock.core.task import Batch, inputs
from rootstock.core.watch import Watch
from rootstock.data import batches, cache
from rootstock.loop import infer, precision
from rootstock.run.found import check_memory
from rootstock.run.prepared import Place, Prepared
from rootstock.run.waited import ask

_WORTH_SAYING = 5
"""Seconds from which a wait is announced."""
_SHOWS = 1.0
"""Seconds after which the speed is known well enough."""
_FEWEST_ROWS = 20
"""Rows below which nobody is advised to go."""
FIX = "lower training.micro_tokens or training.length"


def remembered(prepared: Prepared, key: str, place: Place) -> tuple[Encoded, Encoded] | None:
    """Training and validation rows as vectors, where the cache holds both. key: the tap's."""
    first, second = (cache.recall("features", _key(prepared, key, part, place)) for part in _parts(prepared))
    return (_of_vectors(prepared.encoded, first), _of_vectors(prepared.encoded_validation, second)) if first and second else None


def compute(prepared: Prepared, tap: Tap, place: Place, watch: Watch) -> tuple[Encoded, Encoded]:
    """Training and validation rows as vectors; UsageError where the budget is too short for them, Interrupted where asked to stop."""
    missing = _missing(prepared, tap, place)
    if prepared.recipe.budget.minutes or prepared.recipe.budget.memory:
        _estimate(prepared, tap, place, watch, missing=missing)
    progress = Progress(watch, sum(int(part.lengths.sum()) for part in missing), what="features  the base passes every row once")

    def vectors(part: Encoded) -> dict[str, np.ndarray]:
        feed = prepared.feed(part)

        def passed(rows: np.ndarray) -> None:
            progress.add(int(part.lengths[rows].sum()), rows=len(rows))

        with precision.computing(tap.body, place.dtype), fitting("a pass of the base", fix=FIX):
            return dict(infer.infer(tap.body, feed, _vectors, device=place.device, passed=passed))

    first, second = (
        cache.remembered("features", _key(prepared, tap.key, part, place), partial(vectors, part))[0] for part in _parts(prepared)
    )
    return _of_vectors(prepared.encoded, first), _of_vectors(prepared.encoded_validation, second)


def estimate(prepared: Prepared, tap: Tap, place: Place, watch: Watch) -> float:
    """Seconds that the rows which the cache lacks take: the longest are tried for memory, some of middle length for time.

    OutOfMemory where a batch does not fit, UsageError where the budget is too short.
    """
    return _estimate(prepared, tap, place, watch, missing=_missing(prepared, tap, place))


def _estimate(prepared: Prepared, tap: Tap, place: Place, watch: Watch, *, missing: list[Encoded]) -> float:
    seconds = 0.0
    for part in missing:
        with precision.computing(tap.body, place.dtype):
            seconds += tried(prepared.feed(part), partial(infer.infer, tap.body, answer=_vectors, device=place.device))
    check_budget(prepared, seconds, elapsed=time.monotonic() - watch.started)
    check_memory(prepared.recipe, peak_memory())
    return seconds


def tried(feed: batches.Feed, passed: Callable[[infer.Rows], Any]) -> float:
    """Seconds that a pass of these rows takes: the longest are tried for memory, some of middle length for time.

    Those of middle length pass twice, as the first batch of a shape waits for its code: what it took beyond the second counts once a shape.
    """
    lengths = feed.encoded.lengths
    order = feed.in_order(torch.get_num_threads())
    some = len(order) // 2
    chosen = order[some : some + torch.get_num_threads()]

    def timed() -> float:
        started = time.perf_counter()
        passed(_Some(feed, chosen))
        return time.perf_counter() - started

    with fitting(f"a pass of the {len(order[0])} longest rows", fix=FIX):
        passed(_Some(feed, order[:1]))
        first, again = timed(), timed()
    each = again / max(1, sum(int(lengths[rows].sum()) for rows in chosen))
    return each * int(lengths.sum()) + max(0.0, first - again) * _shapes(lengths, order) / max(1, _shapes(lengths, chosen))


def _shapes(lengths: np.ndarray, order: list[np.ndarray]) -> int:
    """How many shapes these batches have."""
    return len({(len(rows), int(lengths[rows].max())) for rows in order})


def check_budget(prepared: Prepared, seconds: float, *, elapsed: float) -> None:
    """Raise UsageError where a pass of the base leaves no time of the budget. elapsed: seconds so far.

    Where nothing is left to pass, learning gets its tenth, whatever loading took.
    """
    minutes = prepared.recipe.budget.minutes
    if not minutes or not seconds or elapsed + seconds <= 60 * minutes:
        return
    rows = sum(map(len, _parts(prepared)))
    share = (60 * minutes - elapsed) / (2 * seconds)
    fewer = int(share * rows) - len(prepared.encoded_validation)
    hint = f", or --set data.rows={fewer}" if fewer >= _FEWEST_ROWS else ""
    raise UsageError(
        f"the base takes about {seconds:.0f} s for {rows:,} rows",
        wanted=f"at most --minutes {minutes:g}, with time left to learn",
        fix=f"give --minutes {math.ceil((2 * seconds + elapsed) / 60)}{hint}",
    )


def blank(prepared: Prepared, width: int) -> tuple[Encoded, Encoded]:
    """Rows with zeros for vectors: enough to try a step of what comes after."""
    first, second = (_of_vectors(part, {"features": np.zeros((len(part), width), np.float32)}) for part in _parts(prepared))
    return first, second


class Progress:
    """Tells of batches that passed, and of a wait as soon as one shows, and asks after each whether to go on."""

    def __init__(self, watch: Watch, tokens: int, *, what: str) -> None:
        self.what, self.watch, self.tokens, self.done, self.rows, self.started = what, watch, tokens, 0, 0, time.perf_counter()
        self.announced = False

    def add(self, tokens: int, *, rows: int) -> None:
        self.done, self.rows = self.done + tokens, self.rows + rows
        spent = time.perf_counter() - self.started
        whole = spent * self.tokens / max(self.done, 1)
        if not self.announced and spent > _SHOWS and whole > _WORTH_SAYING:
            self.announced = True
            self.watch.say(f"{self.what}, in about {whole:.0f} s")
        self.watch.event({"event": "features", "progress": self.done / self.tokens, "rows": self.rows, "seconds": spent})
        if self.done < self.tokens:
            ask(self.watch)


@dataclass(frozen=True)
class _Some:
    """Chosen batches of a feed."""

    feed: batches.Feed
    chosen: list[np.ndarray]

    def in_order(self, _: int) -> list[np.ndarray]:
        return self.chosen

    def micro_batches(self, rows: np.ndarray, beside: int) -> Iterable[Batch]:
        return self.feed.micro_batches(rows, beside)


def _missing(prepared: Prepared, tap: Tap, place: Place) -> list[Encoded]:
    """The parts whose vectors the cache lacks."""
    return [part for part in _parts(prepared) if cache.recall("features", _key(prepared, tap.key, part, place)) is None]


def _parts(prepared: Prepared) -> Sequence[Encoded]:
    return prepared.encoded, prepared.encoded_validation


def _key(prepared: Prepared, tap: str, encoded: Encoded, place: Place) -> dict[str, Any]:
    """All that decides a row's vector; of images also how their colours are read."""
    told = prepared.task.plain() if PIXELS in encoded.dense else {}
    colours = {name: told[name] for name in ("mean", "std") if name in told}
    return {
        "base": prepared.base.digest,
        "tokens": digests(encoded) | colours,
        "tap": tap,
        "dtype": str(place.dtype),
        "device": place.device.type,
        "version": 2,
    }


def digests(encoded: Encoded) -> dict[str, str]:
    """A digest of each column of tokens, and of the pixels of images."""
    pixels = {PIXELS: artifact.digest_bytes(raw(encoded.dense[PIXELS]))} if PIXELS in encoded.dense else {}
    return {name: artifact.digest_bytes(raw(ragged.flat), raw(ragged.offsets)) for name, ragged in encoded.tokens.items()} | pixels


def _of_vectors(encoded: Encoded, arrays: cache.Arrays) -> Encoded:
    """Rows that hold vectors instead of tokens or pixels; each costs one."""
    dense = {name: values for name, values in encoded.dense.items() if name != PIXELS}
    return Encoded({}, {**dense, "features": arrays["features"]}, np.ones(len(encoded), dtype=np.int64))


def _vectors(body: nn.Module, batch: Any) -> Columns:
    return {"features": body(**inputs(batch)).float().cpu().numpy()}
