"""Token-budget batches of rows of like length: seeded, the same on every machine, with a cursor that can be saved.

A padded token costs as much as a real one. Rows are shuffled, sorted by length within windows of some fifty batches, and cut where the
padded size would pass the budget; then the batches are shuffled. Padding falls to a few per cent and every epoch is still random.
Where a task lays several rows into a line, a batch is full lines of rows of any lengths instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch

from rootstock.core import packing
from rootstock.core.artifact import digest_bytes
from rootstock.core.rows import ALONE, SOURCE, TEACHER, TEACHER_HIDDEN, Encoded, Several, raw
from rootstock.core.seed import HELD_OUT, Draw, stream
from rootstock.core.task import Batch, Task
from rootstock.data import unlabelled
from rootstock.data.states import States

_WINDOW_BATCHES = 50
_LOOKED_AT = 2_000
_TOLD = (TEACHER, TEACHER_HIDDEN, ALONE)
"""Dense columns that go with a batch, whatever the task."""
_KEPT = 2
"""Epochs whose plan is kept: the present one, and the one before that its end is judged by."""


class _Plan(NamedTuple):
    """The batches of an epoch, and the round that each is of."""

    batches: list[np.ndarray]
    rounds: list[int]


@dataclass(frozen=True, eq=False)
class Feed:
    """The batches of some encoded rows. budget: padded tokens of one update. micro: padded tokens that pass through the model at once.

    Where rows are of several parts, each encoded in a way of its own, a batch holds rows of one part only.
    """

    encoded: Encoded
    task: Task
    tokenizer: Any
    budget: int
    micro: int
    seed: int
    shares: tuple[float, ...] | None = None
    """Of each corpus or part (column "source") in an epoch; None where there is one."""
    states: States | None = None
    """What frozen blocks gave for these rows; it goes with the batches."""
    _plans: dict[int, _Plan] = field(default_factory=dict, init=False, repr=False)

    def epoch(self, number: int) -> list[np.ndarray]:
        """Row numbers of each batch of an epoch. No row comes twice in one."""
        return self._plan(number).batches

    def rounds(self, number: int) -> list[int]:
        """The round of each batch of an epoch: above 0 only where some rows come again, whose masks are then others."""
        return self._plan(number).rounds

    def _plan(self, number: int) -> _Plan:
        if number not in self._plans:
            self._plans[number] = self._planned(number)
            for old in list(self._plans)[:-_KEPT]:
                del self._plans[old]
        return self._plans[number]

    def _planned(self, number: int) -> _Plan:
        rng, lengths = stream(self.seed, "order", number), self.encoded.lengths
        if self.shares is None:
            made = plan(lengths, self.budget, rng) if self.line is None else packed(lengths, self.budget, self.line, rng)
            return _Plan(made, [0] * len(made))
        orders = unlabelled.mixed(self.encoded.dense[SOURCE], lengths, np.asarray(self.shares), rng)
        apart = [(some, turn) for turn, order in enumerate(orders) for some in self._apart(order)]
        told = [(rows, turn) for some, turn in apart for rows in windows(lengths, self.budget, some)]
        shuffled = [told[place] for place in rng.permutation(len(told))]
        return _Plan([rows for rows, _ in shuffled], [turn for _, turn in shuffled])

    def _apart(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows that may share a batch: by part, that of the first row first, or all of them."""
        if not isinstance(self.encoded, Several):
            return [rows]
        part_N = self.encoded.dense[SOURCE][rows]
        return [rows[part_N == number] for number in dict.fromkeys(part_N.tolist())]

    @cached_property
    def line(self) -> int | None:
        """Tokens of a line, where the task lays several rows into one: those of the longest row. None: a row is a line."""
        return int(self.encoded.lengths.max(initial=1)) if self.task.packs else None

    def padded(self, rows: np.ndarray) -> int:
        """Padded tokens that these rows cost together."""
        return padded(self.encoded.lengths[rows], self.line)

    def padding_share(self, number: int) -> float:
        """Share of an epoch's tokens that is padding."""
        return padding_share(self.encoded.lengths, self.epoch(number), self.line)

    def in_order(self, beside: int = 1) -> list[np.ndarray]:
        """Every row once, longest first, in batches of which `beside` fit `micro`: for evaluation, where order is free."""
        order = np.argsort(-self.encoded.lengths, kind="stable")
        return [batch for some in self._apart(order) for batch in cut(self.encoded.lengths, some, self.micro // beside, self.line)]

    def shards(self, rows: np.ndarray, count: int) -> list[np.ndarray]:
        """One update's rows in at most `count` consecutive parts of about as many tokens each; none is empty."""
        lengths = self.encoded.lengths[rows]
        middles = np.cumsum(lengths) - lengths / 2
        cuts = np.searchsorted(middles, lengths.sum() * np.arange(1, count) / count)
        return [part for part in np.split(rows, cuts) if len(part)]

    def passes(self, rows: np.ndarray, beside: int = 1) -> int:
        """How many micro-batches these rows make."""
        return len(cut(self.encoded.lengths, rows, self.micro // beside, self.line))

    def micro_batches(self, rows: np.ndarray, beside: int = 1, *, epoch: int = HELD_OUT, round: int = 0) -> Iterator[Batch]:
        """Rows as tensors, in parts of which `beside` fit `micro`; what a task draws is drawn for this epoch and its round."""
        for part in cut(self.encoded.lengths, rows, self.micro // beside, self.line):
            if "features" not in self.encoded.dense:
                batch = self.task.collate(self.encoded, part, self.tokenizer, Draw(self.seed, epoch, round))
                told = {name: torch.from_numpy(self.encoded.dense[name][part]) for name in _TOLD if name in self.encoded.dense}
                yield {**(self.states.beside(batch, part) if self.states else batch), **told}
            else:  # vectors that a frozen base gave: nothing is left to collate
                yield {name: torch.from_numpy(array[part]) for name, array in self.encoded.dense.items()}

    def shapes(self, updates: int, beside: int) -> set[tuple[int, int]]:
        """Lines and tokens of a line of the micro-batches of so many updates on `beside` members, each once.

        Of a long training the first updates are looked at: others hardly bring a shape that has not come by then.
        """
        found: set[tuple[int, int]] = set()
        updates = min(updates, _LOOKED_AT)
        for number in range(updates):  # an epoch has one update at least
            plan = self.epoch(0) if number == 0 else self._planned(number).batches
            for rows in plan[:updates]:
                found |= self.parts(rows, beside)
            updates -= len(plan)
            if updates <= 0:
                break
        return found

    def parts(self, rows: np.ndarray, beside: int) -> set[tuple[int, int]]:
        """The same of one update of these rows."""
        shards = self.shards(rows, beside)
        return {self.shape(part) for shard in shards for part in cut(self.encoded.lengths, shard, self.micro // beside, self.line)}

    def answered(self, beside: int) -> set[tuple[int, int]]:
        """The same of a pass over every row without gradients."""
        return {self.shape(rows) for rows in self.in_order(beside)}

    def shape(self, rows: np.ndarray) -> tuple[int, int]:
        """Lines that these rows take in a batch of their own, and tokens of a line."""
        return shape(self.encoded.lengths[rows], self.line)

    def digest(self, rows: np.ndarray) -> str:
        """What these rows hold, in 16 letters: two runs part where these first differ."""
        return digest_bytes(raw(self._digests[rows]))[:16]

    @cached_property
    def _digests(self) -> np.ndarray:
        """A 64-bit digest of each row's content, made once."""
        return digests(self.encoded)

    def longest(self) -> np.ndarray:
        """The batch that costs most: as many of the longest rows as one update takes."""
        return self.in_budget(np.argsort(-self.encoded.lengths, kind="stable"))

    def in_budget(self, order: np.ndarray) -> np.ndarray:
        """The first rows of `order` that make one update."""
        return cut(self.encoded.lengths, self._apart(order)[0], self.budget, self.line)[0]


def plan(lengths: np.ndarray, budget: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffled batches of like length, each row once. lengths: tokens of each row, [N]."""
    batches = windows(lengths, budget, rng.permutation(len(lengths)))
    return [batches[i] for i in rng.permutation(len(batches))]


def windows(lengths: np.ndarray, budget: int, order: np.ndarray) -> list[np.ndarray]:
    """The rows of `order` in batches of like length, window by window."""
    window = max(1, int(_WINDOW_BATCHES * budget / max(lengths.mean(), 1)))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        batches += cut(lengths, part[np.argsort(lengths[part], kind="stable")], budget)
    return batches


def packed(lengths: np.ndarray, budget: int, line: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffled batches of full lines, each row once. The lines are filled window by window, and shuffled too."""
    order, window = rng.permutation(len(lengths)), max(1, int(_WINDOW_BATCHES * budget / max(lengths.mean(), 1)))
    parts = (order[start : start + window] for start in range(0, len(order), window))
    made = [part[line_] for part in parts for line_ in packing.best_fit(lengths[part], line)]
    return _joined([made[place] for place in rng.permutation(len(made))], budget // line)


def _joined(lines: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The rows of every so many lines (of one at least)."""
    each = max(1, count)
    return [np.concatenate(lines[start : start + each]) for start in range(0, len(lines), each)]


def cut(lengths: np.ndarray, order: np.ndarray, budget: int, line: int | None = None) -> list[np.ndarray]:
    """Consecutive rows of `order` in batches of at most `budget` padded tokens (one row at least, or one line of so many tokens)."""
    if line is not None:
        return _joined([order[places] for places in packing.lines(lengths[order], line)], budget // line)
    batches, start, widest = [], 0, 0
    for i, length in enumerate(lengths[order].tolist()):
        widest = max(widest, length)
        if i > start and widest * (i - start + 1) > budget:
            batches.append(order[start:i])
            start, widest = i, length
    return [*batches, order[start:]] if len(order) else []


def shape(lengths: np.ndarray, line: int | None = None) -> tuple[int, int]:
    """Lines of one batch's rows and the tokens that each is padded to: lines of their own, or shared ones of at most `line` tokens."""
    found = lengths.tolist() if line is None else [int(lengths[places].sum()) for places in packing.lines(lengths, line)]
    return len(found), max(found, default=0)


def padded(lengths: np.ndarray, line: int | None = None) -> int:
    """Padded tokens of one batch's rows."""
    lines, tokens = shape(lengths, line)
    return lines * tokens


def padding_share(lengths: np.ndarray, batches: list[np.ndarray], line: int | None = None) -> float:
    """Share of the tokens in these batches that is padding, in [0, 1)."""
    total = sum(padded(lengths[rows], line) for rows in batches)
    real = sum(int(lengths[rows].sum()) for rows in batches)
    return 1 - real / total if total else 0.0


def digests(encoded: Encoded) -> np.ndarray:
    """A 64-bit digest of each row's content, [N]."""
    columns = [(ragged.flat, ragged.offsets) for ragged in encoded.tokens.values()]
    columns += [(array.reshape(-1), np.arange(len(array) + 1) * (array[0].size if len(array) else 0)) for array in encoded.dense.values()]
    held = [(raw(flat), offsets * flat.itemsize) for flat, offsets in columns]
    made = bytearray()
    for row in range(len(encoded)):
        total = blake2b(digest_size=8)
        for data, offsets in held:
            total.update(data[offsets[row] : offsets[row + 1]])
        made += total.digest()
    return np.frombuffer(bytes(made), dtype=np.uint64)
