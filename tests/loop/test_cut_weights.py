"""What workers hold of a tensor, in files and out of them: rows or columns, read back by any other number of workers."""

import json

import pytest
import torch
from safetensors.torch import save_file

from rootstock.loop.checkpoint import CUT, Checkpoint, Pieces, Rows

WHOLE = torch.arange(5 * 7, dtype=torch.float32).reshape(5, 7)


def written(folder, axis, count):
    """A tensor in the files of `count` workers, cut as torch.chunk does; a number beside it in the first."""
    paths = []
    each = -(-WHOLE.shape[axis] // count)
    for rank in range(count):
        start = min(rank * each, WHOLE.shape[axis])
        part = WHOLE.narrow(axis, start, min(each, WHOLE.shape[axis] - start)).contiguous()
        tensors = {"exp_avg/w": part} | ({"step/w": torch.tensor(3.0)} if rank == 0 else {})
        path = folder / f"optimizer.{rank + 1}-of-{count}.safetensors"
        save_file(tensors, path, metadata={CUT: json.dumps({"exp_avg/w": [start, axis] if axis else start})})
        paths.append(path)
    return paths


@pytest.mark.parametrize("stored", [0, 1])
@pytest.mark.parametrize("wanted", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_worker_finds_its_part_however_it_was_cut(tmp_path, stored, wanted, count):
    held = Pieces(written(tmp_path, stored, count))
    assert torch.equal(held["exp_avg/w"], WHOLE)
    moment = Checkpoint(1, {"optimizer": held, "random": {}}, {})
    total = WHOLE.shape[wanted]
    for start, stop in ((0, 2), (2, total), (total, total)):
        found = moment.own({"w": Rows(start, stop, total, wanted)}, 0)["optimizer"]
        assert torch.equal(found["exp_avg/w"], WHOLE.narrow(wanted, start, stop - start))
        assert found["step/w"] == 3.0
    assert torch.equal(moment.own({}, 0)["optimizer"]["exp_avg/w"], WHOLE)
