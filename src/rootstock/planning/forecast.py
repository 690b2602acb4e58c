"""What one method would take on one device: memory, time and money; and the least change that makes it fit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rootstock.core.errors import RecipeError
from rootstock.planning.devices import DEVICES, Device
from rootstock.planning.memory import Counted, Memory
from rootstock.planning.rehearse import Step

ROOM = 0.92
"""Share of a device's memory that a training may plan with: driver, allocator and workspaces take the rest."""
REACHED = 0.4
"""Share of the peak that a training reaches where nobody measured: PaLM's table 3 (Chowdhery et al. 2022) has 0.21 to 0.46."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a plan knows where the rows are at hand. tokens: padded, of an epoch. updates: of an epoch.

    longest: lines and tokens of a line of the largest micro-batch; answered: of the largest of an evaluation. validation: tokens of one.
    bytes: of the rows in memory. learned, evaluated: shapes of batches, each once.
    """

    tokens: int
    updates: int
    longest: tuple[int, int]
    answered: tuple[int, int]
    validation: int
    bytes: int
    learned: frozenset[tuple[int, int]]
    evaluated: frozenset[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be learned. rows: of an epoch; length: their tokens; micro, batch: tokens at once and of an update.

    members: of an update; cores: that answer side by side in an evaluation. seen: None where all is known of the rows is their length.
    alike: whether all rows are of this length, as images are.
    """

    rows: int
    length: int
    epochs: float
    micro: int
    batch: int
    members: int = 1
    cores: int = 1
    seen: Seen | None = None
    alike: bool = False

    @property
    def at_once(self) -> int:
        """Rows that pass through the model at once; at least one, and no more than there are."""
        return max(1, min(min(self.micro, self.batch) // self.length // self.members, self.rows))

    @property
    def longest(self) -> tuple[int, int]:
        """Rows and tokens of the largest micro-batch."""
        return self.seen.longest if self.seen else (self.at_once, self.length)

    @property
    def answered(self) -> tuple[int, int]:
        """The same of an evaluation."""
        held_out = max(1, self.rows // 9)  # a tenth of all rows
        return self.seen.answered if self.seen else (max(1, min(self.micro // self.length // self.cores, held_out)), self.length)

    @property
    def tokens(self) -> int:
        """Padded tokens of an epoch."""
        return self.seen.tokens if self.seen else self.rows * self.length

    @property
    def validation(self) -> int:
        """Tokens of an evaluation."""
        return self.seen.validation if self.seen else max(1, self.rows // 9) * self.length

    @property
    def updates(self) -> int:
        """Of the whole training."""
        return max(1, round(self.epochs * (self.seen.updates if self.seen else -(-self.tokens // self.batch))))

    @property
    def learned(self) -> frozenset[tuple[int, int]]:
        """Shapes of micro-batches. Where only a length is known, each update is taken to have another one, as rows of a file do."""
        if self.seen or self.alike:
            return self.seen.learned if self.seen else frozenset([self.longest])
        each = min(self.updates * self.members, self.length)
        return frozenset(
            (max(1, self.at_once * self.length // length), length) for length in range(self.length - each + 1, self.length + 1)
        )

    @property
    def evaluated(self) -> frozenset[tuple[int, int]]:
        """The same of an evaluation."""
        return self.seen.evaluated if self.seen else frozenset([self.answered])

    @property
    def accumulates(self) -> bool:
        """Whether an update takes several micro-batches."""
        return min(self.batch // self.length, self.rows) > max(1, self.micro // self.length)


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of a run. start: until its first update, libraries, rows and weights included. passing: of a frozen base over all rows.

    ending: the last measurement, files and report. Where nothing was measured, start and ending are 0: no speed of a device tells them.
    """

    start: float = 0.0
    passing: float = 0.0
    learning: float = 0.0
    evaluating: float = 0.0
    ending: float = 0.0

    @property
    def total(self) -> float:
        """Of the whole run."""
        return self.start + self.passing + self.learning + self.evaluating + self.ending


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What was measured here. learning, answering: operations a second of updates, and of passes without gradients.

    update: seconds of one on cached vectors. process: bytes beside all that is counted, None where no run was tried.
    """

    learning: float
    answering: float
    start: float = 0.0
    ending: float = 0.0
    update: float = 0.0
    process: int | None = None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One method. flops: of one token, forward and backward; forward: of one that is answered.

    seconds: of the whole run, and `times` by part. dollars: None without a price.
    """

    method: str
    precision: str
    counts: Counted
    memory: Memory
    flops: float
    forward: float
    updates: int
    seconds: float
    times: Times
    dollars: float | None
    saved_bytes: int
    fits: bool


class Tried(NamedTuple):
    """A step of the largest micro-batch, and what a training of such steps holds."""

    step: Step
    held: Memory
    work: Work


@dataclass(frozen=True, kw_only=True)
class How:
    """How it is carried out. pace: what was measured, None: a share of the device's peak.

    hourly: dollars. once: the base is frozen, so each row passes it once. adapter: only what learned is saved.
    """

    precision: str
    pace: Pace | None
    hourly: float | None
    once: bool
    adapter: bool


def forecast(name: str, counts: Counted, tried: Tried, device: Device, how: How) -> Forecast:
    """What a training takes. A frozen base is passed once a row, whatever the epochs."""
    step, held, work = tried
    lines, tokens = work.longest
    each, forward = step.flops / (lines * tokens), step.forward / (lines * tokens)
    times = _times(each, forward, work, device, how)
    return Forecast(
        method=name,
        precision=how.precision,
        counts=counts,
        memory=held,
        flops=each,
        forward=forward,
        updates=work.updates,
        seconds=times.total,
        times=times,
        dollars=None if how.hourly is None else how.hourly * times.total / 3600,
        saved_bytes=4 * (counts.learning if how.adapter else counts.whole),
        fits=held.total <= ROOM * device.memory_bytes,
    )


def _times(each: float, forward: float, work: Work, device: Device, how: How) -> Times:
    """each, forward: operations of a token that is learned from, and of one that is answered."""
    reached = REACHED * device.peak(how.precision)
    pace = how.pace or Pace(learning=reached, answering=reached)
    once = forward * (work.tokens + work.validation) / pace.answering
    return Times(
        start=pace.start,
        passing=once if how.once else 0.0,
        learning=work.updates * pace.update if how.once else each * work.tokens * work.epochs / pace.learning,
        evaluating=0.0 if how.once else math.ceil(work.epochs) * forward * work.validation / pace.answering,
        ending=pace.ending,
    )


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing done otherwise. what: in words; bytes: what is held then."""

    what: str
    bytes: int


def cheapest(tries: Sequence[tuple[str, Callable[[], Memory]]], device: Device) -> Change | None:
    """The first change, in the order given, with which it fits; None where none helps. One that this base does not allow is left out."""
    for what, held in tries:
        try:
            total = held().total
        except RecipeError:
            continue
        if total <= ROOM * device.memory_bytes:
            return Change(what=what, bytes=total)
    return None


def smallest(total: int) -> Device | None:
    """The device with the least memory that holds so many bytes; None where none does."""
    held = [each for each in DEVICES.values() if total <= ROOM * each.memory_bytes]
    return min(held, key=lambda each: each.memory_bytes, default=None)
