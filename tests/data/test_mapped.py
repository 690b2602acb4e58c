"""An array on disk: the ecosystem's format, whole or absent, checked, and read through a map."""

import errno
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rootstock.core.errors import WriteFailed
from rootstock.core.rows import Ragged
from rootstock.data import mapped
from rootstock.data.states import States, filled

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def made(values):
    path = mapped.place("layers", {"of": "a test"})
    with mapped.making(path, values.shape, values.dtype) as array:
        array[2:], array[:2] = values[2:], values[:2]
    return path


def test_what_was_written_is_read_and_loads_in_safetensors():
    path = made(VALUES)
    found = mapped.opened(path)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, VALUES)
    torch.testing.assert_close(load_file(path)["states"], torch.from_numpy(VALUES))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_bf16_keeps_its_bits():
    values = torch.randn(4, 3).bfloat16()
    path = made(values.view(torch.int16).numpy().view(np.uint16))
    assert torch.equal(load_file(path)["states"], values)


def test_no_rows_are_rows_too():
    assert mapped.opened(made(np.empty((0, 3), np.float32))).shape == (0, 3)


@pytest.mark.parametrize("place", [-1, 20, 0])
def test_a_damaged_file_is_none(place):
    path = made(VALUES)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert mapped.opened(path) is None


def test_a_short_file_is_none_and_so_is_no_file():
    path = made(VALUES)
    path.write_bytes(path.read_bytes()[:-4])
    assert mapped.opened(path) is None
    path.unlink()
    assert mapped.opened(path) is None


def test_a_system_that_can_not_reserve_keeps_arrays_too(monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    np.testing.assert_array_equal(mapped.opened(made(VALUES)), VALUES)


def test_what_breaks_off_is_absent():
    path = mapped.place("layers", {"of": "a test"})

    def broken():
        with mapped.making(path, (4, 3), np.dtype(np.float32)) as array:
            array[:] = 1
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert not list(path.parent.iterdir())


def test_a_full_disk_says_so_before_anything_is_computed(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(WriteFailed, match="disk is full"), mapped.making(mapped.place("layers", {}), (4, 3), np.dtype(np.float32)):
        pytest.fail("nothing should be computed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_go_with_the_batch_of_the_deepest_kept_block(dtype):
    tokens = Ragged.of([[1, 2, 3], [4], [5, 6]])
    array = np.zeros((6, 2), np.float32 if dtype == torch.float32 else np.uint16)
    states = torch.randn(2, 3, 2).to(dtype)
    filled(array, tokens, np.array([2, 0]), states)
    depth = 5
    held = States({2: array, 4: array[:0]}, tokens, lambda: depth)
    depth = 3
    batch = held.beside({"input_ids": torch.zeros(2, 3)}, np.array([0, 2]))
    assert set(batch) == {"input_ids", "given/2"}
    assert batch["given/2"].dtype == dtype
    assert torch.equal(batch["given/2"][0], states[1])
    assert torch.equal(batch["given/2"][1, :2], states[0, :2])
    assert not batch["given/2"][1, 2].any()  # behind its own tokens
    depth = 1
    assert set(held.beside({"input_ids": torch.zeros(2, 3)}, np.array([0, 2]))) == {"input_ids"}
