"""Batches: every row once, inside the budget, little padding, the same for the same seed."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rootstock.core import packing
from rootstock.core.rows import Encoded, Ragged
from rootstock.core.seed import stream
from rootstock.data.batches import Feed, cut, packed, padded, padding_share, plan

ALONE, TOGETHER = SimpleNamespace(packs=False), SimpleNamespace(packs=True)
lengths = st.lists(st.integers(1, 200), min_size=1, max_size=300).map(np.array)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 2000), st.integers(0, 9))
def test_every_row_once_and_inside_the_budget(lengths, budget, seed):
    batches = plan(lengths, budget, stream(seed, "order", 0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(rows) == 1 or lengths[rows].max() * len(rows) <= budget for rows in batches)
    again = plan(lengths, budget, stream(seed, "order", 0))
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_like_lengths_go_together_and_epochs_differ():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 60, 5000)
    first, second = (plan(lengths, 1024, stream(0, "order", epoch)) for epoch in (0, 1))
    assert padding_share(lengths, first) < 0.05
    naive = [rows for rows in np.array_split(rng.permutation(5000), len(first))]
    assert padding_share(lengths, naive) > 0.3
    assert {tuple(sorted(rows)) for rows in first} != {tuple(sorted(rows)) for rows in second}


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 2000), st.integers(0, 9))
def test_rows_in_lines_come_once_and_inside_the_budget(lengths, budget, seed):
    line = int(lengths.max())
    batches = packed(lengths, budget, line, stream(seed, "order", 0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert padded(lengths[rows], line) <= max(budget, line)
        for part in cut(lengths, rows, budget // 2, line):
            assert padded(lengths[part], line) <= max(budget // 2, line)
    again = packed(lengths, budget, line, stream(seed, "order", 0))
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_lines_hold_rows_of_any_lengths_and_hardly_any_padding():
    rng = np.random.default_rng(0)
    ragged = Ragged.of([[1] * length for length in rng.integers(5, 60, 3000)])
    held = Feed(Encoded({"input_ids": ragged}, {}, ragged.lengths), TOGETHER, None, 1024, 1024, 0)
    assert held.line == 59
    assert held.padding_share(0) < 0.03
    assert np.mean([np.ptp(ragged.lengths[rows]) for rows in held.epoch(0)]) > 45
    assert all(len(packing.lines(ragged.lengths[rows], 59)) * 59 <= 1024 for rows in held.epoch(0))
    alone = Feed(held.encoded, ALONE, None, 1024, 1024, 0)
    assert np.mean([np.ptp(ragged.lengths[rows]) for rows in alone.epoch(0)]) < 10


@given(st.lists(st.lists(st.integers(0, 1000), max_size=6), min_size=1, max_size=20))
def test_ragged_rows_come_back_padded(rows):
    ragged = Ragged.of(rows)
    chosen = np.arange(len(rows))[::-1]
    padded = ragged.padded(chosen, -1)
    assert [[value for value in row if value != -1] for row in padded.tolist()] == [rows[i] for i in chosen]


def feed(rows, budget=8, micro=4):
    ragged = Ragged.of(rows)
    return Feed(Encoded({"input_ids": ragged}, {}, ragged.lengths), ALONE, None, budget, micro, 0)


def test_a_digest_tells_rows_apart_and_the_longest_batch_is_the_longest():
    one, other = feed([[1, 2], [3], [4, 5, 6]]), feed([[1, 2], [3], [4, 5, 7]])
    assert one.digest(np.array([0, 1])) == other.digest(np.array([0, 1]))
    assert one.digest(np.array([2])) != other.digest(np.array([2]))
    assert one.longest().tolist() == [2, 0]
    assert [rows.tolist() for rows in one.in_order()] == [[2], [0, 1]]


def test_a_repeated_row_never_meets_its_copy_and_each_has_draws_of_its_own():
    drawn = []

    class Drawing:
        packs = False

        def collate(self, encoded, rows, tokenizer, draw):
            drawn.append((draw.epoch, draw.round, rows.tolist()))
            return {}

    ragged = Ragged.of([[1, 2]] * 12)
    encoded = Encoded({"input_ids": ragged}, {"source": np.array([0] * 10 + [1] * 2)}, ragged.lengths)
    held = Feed(encoded, Drawing(), None, 8, 8, 0, shares=(0.5, 0.5))
    updates, rounds = held.epoch(3), held.rounds(3)
    assert np.bincount(np.concatenate(updates))[10:].tolist() == [3, 3]
    assert all(len(set(rows.tolist())) == len(rows) for rows in updates)
    for rows, turn in zip(updates, rounds, strict=True):
        list(held.micro_batches(rows, epoch=3, round=turn))
    seen = [(turn, row) for epoch, turn, rows in drawn for row in rows]
    assert len(set(seen)) == len(seen), "a copy is drawn for as the row before it"
    other = Feed(encoded, Drawing(), None, 8, 8, 0, shares=(10 / 12, 2 / 12))
    assert set(other.rounds(0)) == {0}


def test_a_feed_keeps_few_epochs_and_none_of_another_feed():
    one, other = feed([[1], [2], [3]], budget=1), feed([[4]])
    first = one.epoch(0)
    assert one.epoch(0) is first
    assert [len(one.epoch(number)) for number in range(5)] == [3] * 5
    assert list(one._plans) == [3, 4]
    assert len(other.epoch(0)) == 1


def test_cut_keeps_the_order():
    assert [part.tolist() for part in cut(np.array([2, 2, 3, 1]), np.array([0, 1, 2, 3]), 6)] == [[0, 1], [2, 3]]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40), st.integers(1, 8))
def test_shards_hold_every_row_once_and_share_the_work(lengths, count):
    lengths = np.sort(np.array(lengths))
    encoded = Encoded({"input_ids": Ragged.of([[1] * length for length in lengths])}, {}, lengths)
    parts = Feed(encoded, ALONE, None, 1000, 1000, 0).shards(np.arange(len(lengths)), count)
    assert np.concatenate(parts).tolist() == list(range(len(lengths)))
    assert len(parts) <= count
    assert all(len(part) for part in parts)
    fair = lengths.sum() / count
    assert all(lengths[part].sum() <= fair + lengths.max() for part in parts)


def test_two_long_rows_go_to_two_shards():
    lengths = np.array([500, 510])
    encoded = Encoded({"input_ids": Ragged.of([[1] * length for length in lengths])}, {}, lengths)
    assert [part.tolist() for part in Feed(encoded, ALONE, None, 1024, 1024, 0).shards(np.arange(2), 2)] == [[0], [1]]


def test_shapes_are_those_of_the_micro_batches_that_come():
    rng = np.random.default_rng(3)
    made = feed([[1] * length for length in rng.integers(1, 9, 60)], budget=32, micro=16)
    met, left = set(), 25
    for number in range(4):
        for rows in made.epoch(number)[:left]:
            parts = [part for shard in made.shards(rows, 2) for part in cut(made.encoded.lengths, shard, 8)]
            met |= {(len(part), int(made.encoded.lengths[part].max())) for part in parts}
        left = max(0, left - len(made.epoch(number)))
    assert made.shapes(25, 2) == met
    assert made.parts(made.longest(), 2) <= {(lines, 8) for lines in range(9)}
    whole = np.argsort(-made.encoded.lengths, kind="stable")
    assert made.answered(1) == {(len(rows), int(made.encoded.lengths[rows[0]])) for rows in cut(made.encoded.lengths, whole, 16)}
