"""Tensors that several workers have written are read whole, or the rows that are asked for, whatever the number of readers."""

import json
from itertools import pairwise

import pytest
import torch
from safetensors.torch import save_file

from rootstock.core.artifact import digest_folder
from rootstock.loop.checkpoint import CUT, Checkpoint, Rows, newest, place, write_state
from rootstock.loop.world import World

WHOLE = torch.arange(14.0).reshape(7, 2)
STEP = torch.tensor(3.0)


def written(folder, step=5, cuts=(0, 2, 4, 6, 7)):
    """A checkpoint of four workers, each with its rows of one parameter and of its moment."""
    path = place(folder, step)
    path.mkdir(parents=True)
    for number, (start, stop) in enumerate(pairwise(cuts), start=1):
        part = WHOLE[start:stop].clone()
        scalars = {"step/w": STEP} if number == 1 else {}
        first = {"w": start, "exp_avg/w": start}
        for kind, held in {"trained": {"w": part}, "optimizer": {"exp_avg/w": part * 2, **scalars}}.items():
            save_file(held, path / f"{kind}.{number}-of-4.safetensors", metadata={CUT: json.dumps(first)})
        save_file({f"cpu/{number - 1}": torch.tensor([number])}, path / f"random.{number}-of-4.safetensors")
    write_state(path, step, {"workers": 4}, digest_folder(path))
    return path


@pytest.mark.parametrize("readers", [1, 2, 3, 4, 9])
def test_any_number_of_readers_gets_its_rows(tmp_path, readers):
    written(tmp_path)
    found, damaged = newest(tmp_path)
    assert not damaged
    each = -(-7 // readers)
    for rank in range(readers):
        start, stop = min(rank * each, 7), min(rank * each + each, 7)
        own = found.own({} if readers == 1 else {"w": Rows(start, stop, 7)}, rank)
        assert torch.equal(own["trained"]["w"], WHOLE[start:stop])
        assert torch.equal(own["optimizer"]["exp_avg/w"], WHOLE[start:stop] * 2)
        assert torch.equal(own["optimizer"]["step/w"], STEP)
        assert own["random"] == ({"cpu": torch.tensor([rank + 1])} if rank < 4 else {})


def test_a_worker_reads_its_rows_of_what_one_has_written(tmp_path):
    moment = Checkpoint(1, {"trained": {"w": WHOLE}, "random": {"cpu": STEP}}, {})
    own = moment.own({"w": Rows(2, 4, 7)}, 1)
    assert torch.equal(own["trained"]["w"], WHOLE[2:4])
    assert own["random"] == {}


def test_workers_that_pass_the_same_rows_go_on_with_the_same_random_numbers(tmp_path):
    written(tmp_path)
    found, _ = newest(tmp_path)
    drawn = [found.own({}, World(rank=rank, size=5, strategy="tensor").draws)["random"] for rank in range(5)]
    assert drawn == [{"cpu": torch.tensor([1])}] * 5
    assert [World(rank=rank, size=5, strategy="fsdp").draws for rank in range(5)] == [0, 1, 2, 3, 4]


def test_a_damaged_share_is_passed_over(tmp_path):
    written(tmp_path, 4)
    path = written(tmp_path, 5) / "optimizer.3-of-4.safetensors"
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    found, damaged = newest(tmp_path)
    assert found.step == 4
    assert "optimizer.3-of-4.safetensors" in damaged[0]
