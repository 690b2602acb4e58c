"""The cache: found again, made anew when damaged or when anything changed, no reason to fail when the disk is."""

import tracemalloc

import numpy as np
from safetensors.numpy import load_file

from rootstock.core.resources import cache_folder
from rootstock.data.cache import remembered


def maker(calls, value=1.0):
    def make():
        calls.append(1)
        return {"x": np.full(3, value, dtype=np.float32)}

    return make


def test_made_once_per_key():
    calls = []
    remembered("t", {"a": 1}, maker(calls))
    arrays, found = remembered("t", {"a": 1}, maker(calls))
    assert found
    assert len(calls) == 1
    assert arrays["x"].tolist() == [1, 1, 1]
    _, found = remembered("t", {"a": 2}, maker(calls))
    assert not found


def test_a_flipped_bit_is_noticed():
    calls = []
    remembered("t", {"a": 1}, maker(calls))
    path = next((cache_folder() / "t").iterdir())
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 8
    path.write_bytes(raw)
    arrays, found = remembered("t", {"a": 1}, maker(calls))
    assert not found
    assert len(calls) == 2
    assert arrays["x"].tolist() == [1, 1, 1]


def test_an_entry_is_a_plain_file_and_no_array_is_copied_on_its_way():
    large = np.arange(4_000_000, dtype=np.float32).reshape(2, -1)
    tracemalloc.start()
    remembered("t", {"a": 1}, lambda: {"x": large, "none": np.empty((0, 3), np.int16), "one": np.array(2.5)})
    assert tracemalloc.get_traced_memory()[1] < large.nbytes / 4
    tracemalloc.stop()
    path = next((cache_folder() / "t").iterdir())
    np.testing.assert_array_equal(load_file(path)["x"], large)
    found, there = remembered("t", {"a": 1}, dict)
    assert there
    assert {name: array.shape for name, array in found.items()} == {"none": (0, 3), "one": (), "x": large.shape}
    path.write_bytes(path.read_bytes()[:-100])
    assert not remembered("t", {"a": 1}, dict)[1]


def test_no_place_to_write_is_no_failure(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("ROOTSTOCK_CACHE", str(file))
    arrays, found = remembered("t", {"a": 1}, maker([]))
    assert not found
    assert arrays["x"].tolist() == [1, 1, 1]


def test_arrays_come_in_the_same_order_made_or_kept():
    def make():
        return {name: np.arange(3) for name in ("middle", "last", "first", "another", "zeroth")}

    made, _ = remembered("order", {"a": 1}, make)
    for _ in range(5):
        kept, there = remembered("order", {"a": 1}, make)
        assert there
        assert list(kept) == list(made) == sorted(made)
