"""What workers do: encode requests, many in one call, pass batches through lanes, and put answers together."""

import os
import platform
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from rootstock.core.errors import RootstockError, RunFailed
from rootstock.core.rows import PART, Encoded
from rootstock.serving.opening import Model
from rootstock.serving.rows import answers
from rootstock.serving.waiting import Batch, Fresh, Item, Ticket, Waiting

_RANK = 5
"""Nice value of workers. With two of them, the loop and a client on two cores p99 over p50 at 70 % of the capacity fell from 2.9 to 2.5."""


@dataclass(eq=False)
class Counts:
    """What workers have done so far; numbers only grow."""

    batches: int = 0
    rows: int = 0
    padded_tokens: int = 0
    real_tokens: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"encode": 0.0, "compute": 0.0, "wait": 0.0})
    rows_by_model: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what is done inside to a stage."""
        start = time.perf_counter()
        yield
        with self.lock:
            self.seconds[stage] += time.perf_counter() - start


class Caught:
    """What goes wrong inside becomes `error`, as something of ours: a worker goes on with its next work, whatever happened."""

    def __init__(self) -> None:
        self.error: RootstockError | None = None

    def __enter__(self) -> "Caught":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        if isinstance(error, RootstockError):
            self.error = error
        else:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.error = RunFailed(f"the model failed on these rows: {said}")
            self.error.__cause__ = error
        return True


@dataclass(eq=False)
class Workers:
    """Threads of one core each. words: held while a tokenizer works, which keeps how it cuts in itself."""

    waiting: Waiting
    count: int
    counts: Counts = field(default_factory=Counts)
    words: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin to work."""
        self._threads = [threading.Thread(target=self._work, name=f"rootstock-{number}", daemon=True) for number in range(self.count)]
        for each in self._threads:
            each.start()

    def join(self) -> None:
        """Wait until all have gone home."""
        for each in self._threads:
            each.join()

    def _work(self) -> None:
        torch.set_num_threads(1)
        _give_way()
        while (work := self.waiting.take()) is not None:
            with torch.inference_mode():
                if isinstance(work, Fresh):
                    self._encode(work.tickets)
                elif isinstance(work, Batch):
                    self._pass(work)
                elif work():
                    self.waiting.step(work)
            self.waiting.done(work)

    def _encode(self, tickets: Sequence[Ticket]) -> None:
        alike: dict[Any, list[Ticket]] = defaultdict(list)
        for ticket in tickets:
            if not ticket.dead:
                alike[ticket.model.encoding, tuple(ticket.rows.column_names)].append(ticket)
        with self.counts.timed("encode"):
            for group in alike.values():
                with Caught() as caught:
                    self._encode_alike(group)
                for ticket in group if caught.error else ():
                    with Caught() as own:
                        self._encode_alike([ticket])
                    if own.error:
                        self._settle(ticket, own.error)
                self.waiting.encoded(group)

    def _encode_alike(self, tickets: Sequence[Ticket]) -> None:
        """Rows of models that encode alike as one table: what their tokenizer costs a call is paid once."""
        model = tickets[0].model
        rows = pa.concat_tables([ticket.rows for ticket in tickets])
        with self.words:
            encoded, cut_N = encode(model, rows)
        ends = np.cumsum([len(ticket.rows) for ticket in tickets]).tolist()
        for ticket, end in zip(tickets, ends, strict=True):
            start = end - len(ticket.rows)
            ticket.encoded, ticket.cut = rows_of(encoded, start, end), cut_N[start:end].tolist()

    def _pass(self, batch: Batch) -> None:
        now = time.perf_counter()
        with Caught() as caught:
            self._compute(batch.lane, batch.items)
        if caught.error:
            self._apart(batch, caught.error)
        whole = self.waiting.passed(batch.items)
        with self.counts.lock:
            self.counts.seconds["wait"] += sum(now - item.ticket.arrived for item in batch.items)
            self.counts.rows += len(batch.items)
            self.counts.batches += 1
            self.counts.real_tokens += sum(item.length for item in batch.items)
            self.counts.padded_tokens += batch.lane.cost([item.length for item in batch.items])
            self.counts.rows_by_model.update(item.ticket.model.info.name for item in batch.items)
        for ticket in whole:
            self._finish(ticket)

    def _apart(self, batch: Batch, error: RootstockError) -> None:
        """A request's rows must not fail for another's: each by itself."""
        tickets = list({id(item.ticket): item.ticket for item in batch.items}.values())
        for ticket in tickets:
            with Caught() as own:
                if len(tickets) == 1:
                    raise error
                self._compute(batch.lane, [item for item in batch.items if item.ticket is ticket])
            if own.error:
                self._settle(ticket, own.error)

    def _compute(self, lane: Any, items: Sequence[Item]) -> None:
        alike: dict[Any, dict[int, list[Item]]] = defaultdict(lambda: defaultdict(list))
        for item in items:  # encoded alike and of as many texts a row; and of one model
            assert item.ticket.encoded is not None
            model = item.ticket.model
            alike[model.encoding, tuple(item.ticket.encoded.tokens)][id(model)].append(item)
        with self.counts.timed("compute"):
            asked = [(group[0].ticket.model.part, batch) for groups in alike.values() for group, batch in collated(list(groups.values()))]
            every = [group for groups in alike.values() for group in groups.values()]
            for group, columns in zip(every, lane.answer(asked), strict=True):
                for place, item in enumerate(group):
                    item.ticket.parts[item.row] = {name: values[place : place + 1] for name, values in columns.items()}

    def _finish(self, ticket: Ticket) -> None:
        model, parts = ticket.model, [ticket.parts[row] for row in range(len(ticket.parts))]
        with Caught() as caught:
            assert ticket.encoded is not None
            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            with self.words if model.task.writes else nullcontext():
                found = answers(model.task, columns, ticket.encoded, ticket.rows, model.tokenizer)
            self._settle(ticket, [{**answer, "cut": True} if cut else answer for answer, cut in zip(found, ticket.cut, strict=True)])
        if caught.error:
            self._settle(ticket, caught.error)

    def _settle(self, ticket: Ticket, found: Any) -> None:
        if self.waiting.bury(ticket):
            ticket.settle(found)


def _give_way() -> None:
    """Let whoever accepts and answers have the core first, where each thread has a rank of its own (Linux)."""
    if platform.system() == "Linux":
        with suppress(OSError):  # one who may not is as quick as the others
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(_RANK, os.getpriority(os.PRIO_PROCESS, 0)))


def encode(model: Model, rows: pa.Table) -> tuple[Encoded, np.ndarray]:
    """Rows as the model reads them, and which of them were longer than it takes: as `predict` does."""
    whole = model.task.encode(rows, model.tokenizer, None)
    longer_N = model.task.spans(whole) > model.length if model.length else np.zeros(len(rows), bool)
    encoded = model.task.encode(rows, model.tokenizer, model.length) if longer_N.any() else whole
    return encoded, longer_N & (not model.task.parted)


def rows_of(encoded: Encoded, start: int, stop: int) -> Encoded:
    """What some rows of a table were encoded as, as if there were no others."""
    if PART not in encoded.dense:
        return encoded.part(start, stop)
    first, last = np.searchsorted(encoded.dense[PART], (start, stop)).tolist()
    found = encoded.part(first, last)
    return Encoded(found.tokens, {**found.dense, PART: found.dense[PART] - start}, found.lengths)


def collated(groups: Sequence[list[Item]]) -> Iterator[tuple[list[Item], Any]]:
    """Rows of each model, of any of its requests, as a batch; those of models that encode alike are put together in one call."""
    items = [item for group in groups for item in group]
    tickets = list({id(item.ticket): item.ticket for item in items}.values())
    held = [ticket.encoded for ticket in tickets if ticket.encoded is not None]
    starts = dict(zip(map(id, tickets), np.cumsum([0, *map(len, held)])[:-1].tolist(), strict=True))
    joined = held[0] if len(held) == 1 else Encoded.joined(held)
    batch = items[0].ticket.model.batch(joined, np.array([starts[id(item.ticket)] + item.row for item in items]))
    start = 0
    for group in groups:
        yield group, batch if len(groups) == 1 else {name: value[start : start + len(group)] for name, value in batch.items()}
        start += len(group)
