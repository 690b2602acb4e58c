"""Which rows pass together, when a batch is sent, and in which numbers: rules that no answer shows."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rootstock.core.errors import Draining, Overloaded, UsageError
from rootstock.serving import numbers, waiting
from rootstock.serving.settings import EngineSettings
from rootstock.serving.waiting import Batch, Fresh, Item, Line, Ticket, Waiting


def line_of(*lengths):
    """Rows that came in this order, a ticket each."""
    line, tickets = Line(), []
    for at, length in enumerate(lengths):
        tickets.append(Ticket(None, None, None, arrived=float(at)))
        line.put(Item(tickets[-1], 0, length))
    return line, tickets


def taken(line, tokens=4096, rows=256, *, packs=False):
    return [item.length for item in line.take(tokens, rows, packs=packs)]


def test_a_batch_is_of_like_length_around_the_oldest_row():
    lengths = (100, 10, 97, 300, 12, 104)
    line, _ = line_of(*lengths)
    assert taken(line) == [100, 97, 104], "rows of 10 tokens would be nine tenths padding"
    assert taken(line) == [10, 12], "then those around the oldest that is left"
    assert taken(line) == [300]
    assert (line.tokens, line.places, line.oldest()) == (0, {}, None)
    line, _ = line_of(*lengths[:3], *lengths[4:])
    assert taken(line, packs=True) == [100, 97, 104, 10, 12], "where only attention is padded more of it may be"
    line, _ = line_of(20, 9, 33)
    assert taken(line) == [20, 9, 33], "few tokens are never parted"


def test_a_batch_holds_no_more_than_its_tokens_and_rows_and_one_row_at_least():
    line, _ = line_of(*[100] * 5)
    assert taken(line, tokens=250) == [100, 100]
    assert taken(line, rows=1) == [100]
    assert taken(line, tokens=50) == [100]
    assert line.tokens == 100
    line, _ = line_of(100, 60, 100)
    assert taken(line, tokens=260, packs=True) == [100, 100, 60], "of what passes without padding the tokens themselves count"
    line, _ = line_of(100, 90, 100)
    assert taken(line, tokens=260) == [100, 100], "and padding where it is computed"


def test_rows_that_nobody_waits_for_any_more_are_left_out():
    line, tickets = line_of(100, 101, 102, 500)
    tickets[0].dead = tickets[2].dead = tickets[3].dead = True
    assert line.oldest() == 1.0
    assert taken(line) == [101]
    assert (line.oldest(), line.tokens) == (None, 0)


@pytest.fixture
def clock(monkeypatch):
    """The time that tickets and batches go by."""
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(waiting, "time", SimpleNamespace(perf_counter=lambda: now.at))
    return now


class Rows:
    """What rows of these lengths were encoded as, as far as a queue asks."""

    def __init__(self, lengths):
        self.lengths = np.array(lengths)

    def __len__(self):
        return len(self.lengths)


class Queue(Waiting):
    """With one lane that passes rows without padding. came: rows of these lengths, encoded."""

    def __init__(self, workers, **settings):
        super().__init__(EngineSettings(**settings), workers, lambda ticket: None)
        self.model = SimpleNamespace(lane=SimpleNamespace(packs=True, writes=False))

    def came(self, at, *lengths):
        ticket = Ticket(self.model, range(len(lengths)), None, arrived=at)
        self.admit(ticket, 0.0)
        assert isinstance(self.take(), Fresh)
        ticket.encoded = Rows(lengths)
        self.encoded([ticket])
        self.done(Fresh([ticket]))
        return ticket

    def next(self):
        """Lengths of the batch that a free worker gets, which is busy with it from now on; or for how long there is none."""
        found = self._next()
        if isinstance(found, Batch):
            self._busy += 1
            return [item.length for item in found.items]
        return found


def test_the_first_row_waits_for_others_until_its_deadline_and_no_longer(clock):
    queue = Queue(1, deadline_ms=50)
    queue.came(clock.at, 20)
    assert queue.next() == pytest.approx(0.05)
    clock.at += 0.03
    queue.came(clock.at, 30)
    assert queue.next() == pytest.approx(0.02), "the oldest decides"
    clock.at += 0.02
    assert queue.next() == [20, 30]
    full = Queue(1, deadline_ms=50, max_batch_tokens=100)
    full.came(clock.at, 60, 60)
    assert full.next() == [60], "what is full waits for nobody"


def test_what_waits_is_shared_among_the_workers_that_are_free(clock):
    clock.at += 1
    both = Queue(2, deadline_ms=0)
    both.came(0.0, *[20] * 60)
    assert both.next() == [20] * 30, "a half each where both are free"
    assert both.next() == [20] * 30
    alone = Queue(1, deadline_ms=0)
    alone.came(0.0, *[20] * 60)
    assert alone.next() == [20] * 60
    few = Queue(8, deadline_ms=0)
    few.came(0.0, *[20] * 20)
    assert few.next() == [20] * 12, "256 tokens are never parted"


def test_the_queue_has_a_bound_and_says_when_to_ask_again(clock):
    queue = Queue(1, queue_rows=3)
    queue.came(clock.at, 5, 5)
    with pytest.raises(Overloaded) as refused:
        queue.admit(Ticket(queue.model, range(2), None), 4.0)
    assert refused.value.retry_after == 0.5, "two rows at four a second"
    queue.began()
    with pytest.raises(Overloaded):
        queue.began()
    queue.draining = True
    with pytest.raises(Draining):
        queue.admit(Ticket(queue.model, range(1), None), 4.0)


@pytest.mark.parametrize(("fp32", "bf16", "quicker"), [(4.0, 1.5, "bfloat16"), (1.5, 4.0, "float32")])
def test_the_quicker_numbers_are_taken_and_both_times_said(monkeypatch, fp32, bf16, quicker):
    monkeypatch.setattr(numbers, "_timed", lambda dtype: {torch.float32: fp32, torch.bfloat16: bf16}[dtype])
    found = numbers.choose("auto", "cpu")
    assert found.name == quicker
    assert found.said.startswith(f"{quicker} (float32 {fp32:.2f} ms, bfloat16 {bf16:.2f} ms")
    for asked in ("float32", "bfloat16", "int8"):
        assert numbers.choose(asked, "cpu").said == asked, "what is asked for is obeyed, and nothing timed"
    with pytest.raises(UsageError, match="int8"):
        numbers.choose("int8", "cuda")
