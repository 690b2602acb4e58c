"""Answers come in the order of the rows, whichever core gave them, and the same on one core as on many."""

import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from rootstock.loop.infer import infer


class _Rows:
    """Rows 0 … 39 in a shuffled order, three a batch."""

    def __init__(self) -> None:
        order = np.random.default_rng(0).permutation(40)
        self.batches = [order[start : start + 3] for start in range(0, 40, 3)]

    def in_order(self, beside):
        return self.batches

    def micro_batches(self, rows, beside):
        yield {"x": torch.from_numpy(rows.astype(np.float32))[:, None].expand(-1, 8)}


def _answer(model, batch):
    return {"out": model(batch["x"]).numpy(), "row": batch["x"][:, 0].numpy()}


@pytest.fixture
def cores():
    held = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(held)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_answers_stand_in_the_order_of_the_rows(cores, count):
    cores(count)
    found = infer(nn.Linear(8, 2), _Rows(), _answer, device=torch.device("cpu"))
    assert found["row"].tolist() == list(range(40))
    assert torch.get_num_threads() == count, "inference left another number of threads behind"


def test_one_core_and_many_give_the_same_bits(cores):
    model, found = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2)), []
    for count in (1, 4):
        cores(count)
        found.append(infer(model, _Rows(), _answer, device=torch.device("cpu"))["out"])
    assert np.array_equal(*found)


def test_the_work_is_spread_over_threads_and_learns_nothing(cores):
    cores(2)
    seen, meet = set(), threading.Barrier(2, timeout=20)

    def answer(model, batch):
        if len(seen) < 2:
            seen.add(threading.get_ident())
            meet.wait()
        assert torch.is_inference_mode_enabled()
        return _answer(model, batch)

    infer(nn.Linear(8, 2), _Rows(), answer, device=torch.device("cpu"))
    assert len(seen) == 2


class _Forgetful(nn.Module):
    """Keeps what it saw from one line to the next, as hooks do."""

    def forward(self, x):
        self.held = x
        time.sleep(0.002)
        return self.held * 2


def test_each_core_has_modules_of_its_own(cores):
    cores(4)
    found = infer(_Forgetful(), _Rows(), _answer, device=torch.device("cpu"))
    assert found["out"][:, 0].tolist() == [2.0 * row for row in range(40)], "one core read what another had left"


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_survives_a_failure(cores, training):
    cores(2)
    model = nn.Linear(8, 2).train(training)

    def answer(model, batch):
        assert not model.training
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        infer(model, _Rows(), answer, device=torch.device("cpu"))
    assert model.training is training


def test_no_rows_no_answers(cores):
    rows = _Rows()
    rows.batches = []
    assert infer(nn.Linear(8, 2), rows, _answer, device=torch.device("cpu")) == {}
