"""Rows that wait: admitted up to a bound, encoded a model at a time, handed out in batches of like length.

A worker that is free takes the oldest row and fills its batch with rows of the same length, then of neighbouring ones as long as little of
the batch is padding. Under load batches fill by themselves while the workers are busy; else the oldest row waits for others until its
deadline. All of it is under one lock, which is never held while anything is computed.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rootstock.core.errors import Draining, Overloaded
from rootstock.core.rows import Columns, Encoded
from rootstock.serving.opening import Model
from rootstock.serving.settings import EngineSettings
from rootstock.serving.trunk import Lane

_STEP = 8
"""Tokens between two lengths that are told apart: half of a vector of keys."""
_WASTE, _PACKED_WASTE = 0.25, 0.6
"""Share of a batch that may be padding before rows of another length wait for the next one; the second where only attention is padded."""
_FEWEST = 256
"""Tokens below which a product no longer fills a core's vector units: so few are never parted among workers."""


@dataclass(eq=False)
class Ticket:
    """The rows of one request. settle: takes the answers or an error, once, on the loop of who asked."""

    model: Model
    rows: pa.Table
    settle: Callable[[Any], None]
    arrived: float = field(default_factory=time.perf_counter)
    encoded: Encoded | None = None
    cut: Sequence[bool] = ()
    parts: dict[int, Columns] = field(default_factory=dict)
    """What each encoded row got, one row each."""
    passing: int = 0
    """Encoded rows that are being computed now."""
    dead: bool = False
    """Settled, or nobody wants it any more."""


@dataclass(frozen=True)
class Item:
    """An encoded row of a ticket."""

    ticket: Ticket
    row: int
    length: int


@dataclass(frozen=True)
class Batch:
    """Rows that pass together."""

    lane: Lane
    items: list[Item]


@dataclass(frozen=True)
class Fresh:
    """Tickets that are to be encoded."""

    tickets: list[Ticket]


Work = Batch | Fresh | Callable[[], bool]
"""What a worker does next. A function does one step of something longer and says whether there are more."""


class Line:
    """Encoded rows of one lane by length, each length in the order of arrival."""

    def __init__(self) -> None:
        self.places: dict[int, deque[Item]] = {}
        self.tokens = 0

    def put(self, item: Item) -> None:
        """At the end of its length."""
        self.places.setdefault(-(-item.length // _STEP), deque()).append(item)
        self.tokens += item.length

    def oldest(self) -> float | None:
        """When the first of all came. Rows whose ticket is dead are thrown out on the way."""
        for place in list(self.places):
            held = self.places[place]
            while held and held[0].ticket.dead:
                self.tokens -= held.popleft().length
            if not held:
                del self.places[place]
        return min((held[0].ticket.arrived for held in self.places.values()), default=None)

    def take(self, tokens: int, rows: int, *, packs: bool) -> list[Item]:
        """The oldest row, and those that pass well with it, in at most so many tokens that pass and rows (one row at least)."""
        waste = _PACKED_WASTE if packs else _WASTE
        start = min(self.places, key=lambda place: self.places[place][0].ticket.arrived)
        found: list[Item] = []
        real = wide = 0
        for place in sorted(self.places, key=lambda place: (abs(place - start), place)):
            held = self.places[place]
            while held and len(found) < rows:
                item = held[0]
                if item.ticket.dead:
                    self.tokens -= held.popleft().length
                    continue
                wider = max(wide, item.length)
                padded, kept = wider * (len(found) + 1), real + item.length
                if found and ((kept if packs else padded) > tokens or (place != start and padded > _FEWEST and 1 - kept / padded > waste)):
                    break
                found.append(held.popleft())
                self.tokens -= item.length
                real, wide = kept, wider
        for place in [place for place, held in self.places.items() if not held]:
            del self.places[place]
        return found


class Waiting:
    """Tickets on their way from admission to a worker. free: told each ticket once nothing of it is computed any more."""

    def __init__(self, settings: EngineSettings, workers: int, free: Callable[[Ticket], None]) -> None:
        self.settings, self.workers, self._free = settings, workers, free
        self.lock = threading.Condition()
        self.rows = 0
        """Rows that are admitted and not settled."""
        self.passing = 0
        """Encoded rows that are being computed."""
        self.draining = self.closed = False
        self._fresh: list[Ticket] = []
        self._lines: dict[int, tuple[Lane, Line]] = {}
        self._steps: deque[Callable[[], bool]] = deque()
        self._busy = 0
        self._writing: set[int] = set()
        """Lanes that write texts of a batch now: a second worker would only stand beside."""
        self._turn = self._reading = False

    def admit(self, ticket: Ticket, pace: float) -> None:
        """Take a request in. Overloaded beyond the bound, Draining at the end. pace: rows a second, for when to ask again."""
        count = len(ticket.rows)
        with self.lock:
            if self.draining or self.closed:
                raise Draining("the server is shutting down", retry_after=5.0)
            if self.rows + count > self.settings.queue_rows:
                after = min(max(self.rows / pace if pace else 1.0, 0.1), 60.0)
                wanted = f"at most {self.settings.queue_rows:,} rows at once"
                raise Overloaded(f"{self.rows:,} rows are waiting, and {count:,} more do not fit", retry_after=after, wanted=wanted)
            self.rows += count
            self._fresh.append(ticket)
            self.lock.notify()

    def encoded(self, tickets: Sequence[Ticket]) -> None:
        """Their rows may pass from now on."""
        with self.lock:
            for ticket in tickets:
                if ticket.dead or ticket.encoded is None:
                    continue
                _, line = self._lines.setdefault(id(ticket.model.lane), (ticket.model.lane, Line()))
                for row, length in enumerate(ticket.encoded.lengths.tolist()):
                    line.put(Item(ticket, row, length))
            self.lock.notify_all()

    def step(self, work: Callable[[], bool]) -> None:
        """Have a step of something longer done, in turn with batches."""
        with self.lock:
            self._steps.append(work)
            self.lock.notify()

    def bury(self, ticket: Ticket) -> bool:
        """Take a ticket out of the count; whether it was alive till now. Its rows are thrown out where they wait."""
        with self.lock:
            if ticket.dead:
                return False
            ticket.dead = True
            self.rows -= len(ticket.rows)
            if not ticket.passing:
                self._free(ticket)
            self.lock.notify_all()
            return True

    def passed(self, items: Sequence[Item]) -> list[Ticket]:
        """These rows are computed: tickets that have all of theirs now."""
        whole = []
        with self.lock:
            self.passing -= len(items)
            self._writing.discard(id(items[0].ticket.model.lane))
            self.lock.notify_all()
            for ticket, count in Counter(item.ticket for item in items).items():
                ticket.passing -= count
                if ticket.dead and not ticket.passing:
                    self._free(ticket)
                elif not ticket.dead and len(ticket.parts) == len(ticket.encoded or ()):
                    whole.append(ticket)
        return whole

    def began(self) -> None:
        """Something longer begins, which counts as one row. Overloaded and Draining as `admit`."""
        with self.lock:
            if self.draining or self.closed:
                raise Draining("the server is shutting down", retry_after=5.0)
            if self.rows >= self.settings.queue_rows:
                raise Overloaded(f"{self.rows:,} rows are waiting", retry_after=1.0)
            self.rows += 1

    def ended(self) -> None:
        """It is over."""
        with self.lock:
            self.rows -= 1
            self.lock.notify_all()

    def drain(self) -> None:
        """Accept nothing more, and wait until nothing is left."""
        with self.lock:
            self.draining = True
            self.lock.wait_for(lambda: not self.rows or self.closed)

    def take(self) -> Work | None:
        """What to do next; waits for it. None once it is closed."""
        with self.lock:
            while not self.closed:
                found = self._next()
                if not isinstance(found, float):
                    self._busy += 1
                    return found
                self.lock.wait(found if found < 60 else None)
            return None

    def done(self, work: Work) -> None:
        """A worker is free again."""
        with self.lock:
            self._busy -= 1
            if isinstance(work, Fresh):
                self._reading = False
                self.lock.notify_all()

    def close(self) -> list[Ticket]:
        """Send the workers home; the tickets that were never answered."""
        with self.lock:
            self.closed = True
            self.lock.notify_all()
            left = {id(ticket): ticket for ticket in self._fresh}
            for _, line in self._lines.values():
                left |= {id(item.ticket): item.ticket for held in line.places.values() for item in held}
            return [ticket for ticket in left.values() if not ticket.dead]

    def _next(self) -> Work | float:
        """Work, or for how many seconds there is none."""
        if self._fresh and not self._reading:
            self._reading = True  # one worker at a time: a tokenizer keeps how it cuts in itself
            tickets, self._fresh = self._fresh, []
            return Fresh(tickets)
        self._turn = not self._turn
        if self._steps and self._turn:
            return self._steps.popleft()
        found = self._batch()
        if isinstance(found, float) and self._steps:
            return self._steps.popleft()
        return found

    def _batch(self) -> Batch | float:
        soonest, patience = None, self.settings.deadline_ms / 1000
        for lane, line in self._lines.values():
            arrived = line.oldest()
            if arrived is not None and id(lane) not in self._writing and (soonest is None or arrived < soonest[0]):
                soonest = arrived, lane, line
        self._lines = {key: held for key, held in self._lines.items() if held[1].places}
        if soonest is None:
            return 3600.0
        arrived, lane, line = soonest
        most = max(self.settings.max_batch_tokens // self.workers, 1)
        left = arrived + patience - time.perf_counter()
        if left > 0 and line.tokens < most:
            return left
        # what waits is shared among the workers that are free, or one would have all of it and the others nothing
        share = -(-line.tokens // max(self.workers - self._busy, 1))
        items = line.take(min(max(share, _FEWEST), most), self.settings.max_batch_rows, packs=lane.packs)
        self.passing += len(items)
        self._writing |= {id(lane)} if lane.writes and items else set()
        for item in items:
            item.ticket.passing += 1
        return Batch(lane, items)
