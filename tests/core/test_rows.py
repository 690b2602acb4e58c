"""Rows that come in parts are those that were joined at once."""

import numpy as np
import pytest

from rootstock.core.rows import Encoded, Ragged


def part(sizes, seed, *, kind=np.int32, wide=3):
    rng = np.random.default_rng(seed)
    ids = Ragged.of([rng.integers(0, 100, size) for size in sizes], kind)
    dense = {"part": rng.integers(0, 9, len(sizes)).astype(np.int32), "pixels": rng.random((len(sizes), wide, 2)).astype(np.float32)}
    return Encoded({"input_ids": ids, "asked": Ragged.of([[1] * size for size in sizes], np.int8)}, dense, ids.lengths + 1)


@pytest.mark.parametrize("sizes", [[(3, 1)], [(3, 1), (), (5, 2, 2)], [(), (4,)], [(1,) * 50, (7,) * 90, (2,)]], ids=range(4))
def test_parts_are_gathered_as_they_are_joined(sizes):
    parts = [part(each, seed) for seed, each in enumerate(sizes)]
    wanted, found = Encoded.joined(parts).arrays(), Encoded.gathered(iter(parts)).arrays()
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)


def test_a_part_of_another_kind_of_numbers_is_kept_whole():
    few, many = part((2,), 0, kind=np.int8), part((2,), 1, kind=np.int32)
    many.tokens["input_ids"].flat[:] = 100_000
    found = Encoded.gathered([few, many]).tokens["input_ids"]
    assert found.flat.tolist() == [*few.tokens["input_ids"].flat.tolist(), 100_000, 100_000]


def test_each_part_is_let_go_before_the_next():
    alive = []

    def made():
        for seed in range(4):
            own = part((3,), seed)
            alive.append(own.lengths)
            yield own

    found = Encoded.gathered(made())
    assert not any(np.shares_memory(each, array) for each in alive for array in found.arrays().values())
