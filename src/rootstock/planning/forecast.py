"""What one method would take on one device: memory, time and money; and the least change that makes it fit."""

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
class Work:
    """What is to be learned. rows: of an epoch; length: their tokens; micro, batch: tokens at once and of an update."""

    rows: int
    length: int
    epochs: float
    micro: int
    batch: int
    members: int = 1

    @property
    def at_once(self) -> int:
        """Rows that pass through the model at once; at least one, and no more than there are."""
        return max(1, min(min(self.micro, self.batch) // self.length // self.members, self.rows))

    @property
    def accumulates(self) -> bool:
        """Whether an update takes several micro-batches."""
        return min(self.batch // self.length, self.rows) > max(1, self.micro // self.length)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One method. flops: of one token, forward and backward. seconds: of the whole training. dollars: None without a price."""

    method: str
    precision: str
    counts: Counted
    memory: Memory
    flops: float
    seconds: float
    dollars: float | None
    saved_bytes: int
    fits: bool


class Tried(NamedTuple):
    """A step of `work.at_once` rows, and what a training of such steps holds."""

    step: Step
    held: Memory
    work: Work


@dataclass(frozen=True, kw_only=True)
class How:
    """How it is carried out. speed: operations a second that were measured, None: a share of the device's peak.

    hourly: dollars. once: the base is frozen, so each row passes it once. adapter: only what learned is saved.
    """

    precision: str
    speed: float | None
    hourly: float | None
    once: bool
    adapter: bool


def forecast(name: str, counts: Counted, tried: Tried, device: Device, how: How) -> Forecast:
    """What a training takes. A frozen base is passed once a row, whatever the epochs."""
    step, held, work = tried
    each = step.flops / (work.at_once * work.length)
    passes = 1.0 if how.once else work.epochs
    seconds = each * work.rows * work.length * passes / (how.speed or REACHED * device.peak(how.precision))
    return Forecast(
        method=name,
        precision=how.precision,
        counts=counts,
        memory=held,
        flops=each,
        seconds=seconds,
        dollars=None if how.hourly is None else how.hourly * seconds / 3600,
        saved_bytes=4 * (counts.learning if how.adapter else counts.whole),
        fits=held.total <= ROOM * device.memory_bytes,
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
