"""Means of weights against their closed forms, and that the mean is what is measured, kept and resumed."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rootstock.core.errors import Interrupted
from rootstock.core.watch import Watch
from rootstock.loop.average import Average
from rootstock.verbs import api


def states(count):
    return [{"w": torch.tensor([float(step), 2.0 * step])} for step in range(1, count + 1)]


def test_an_ema_forgets_by_its_decay_and_less_at_the_start():
    average = Average("ema", 0.5)
    for number, state in enumerate(states(30), 1):
        average.take(state, number / 30)
    wanted, kept = 1.0, [min(0.5, taken / (9 + taken)) for taken in range(2, 31)]
    for value, share in zip(range(2, 31), kept, strict=True):
        wanted = share * wanted + (1 - share) * value
    assert average.mean()["w"].tolist() == pytest.approx([wanted, 2 * wanted], rel=1e-6)
    assert kept[0] == pytest.approx(2 / 11), "TensorFlow's (1 + t) / (10 + t) at t = 1"


def test_swa_is_the_plain_mean_of_the_second_half():
    average = Average("swa", 0.9)
    for number, state in enumerate(states(10), 1):
        average.take(state, number / 10)
    assert average.mean()["w"].tolist() == pytest.approx([np.mean(range(5, 11)), 2 * np.mean(range(5, 11))])


def test_without_an_average_nothing_is_held():
    average = Average("none", 0.9)
    average.take(states(1)[0], 1.0)
    assert not average.begun
    assert average.state() == {}


def test_it_goes_on_from_a_checkpoint():
    whole, half = Average("ema", 0.9), Average("ema", 0.9)
    for number, state in enumerate(states(8), 1):
        whole.take(state, number / 8)
        half.take(state, number / 8)
        if number == 4:
            again = Average("ema", 0.9)
            again.load({name: value.clone() for name, value in half.state().items()})
            half = again
    assert torch.equal(whole.mean()["w"], half.mean()["w"])


@pytest.mark.parametrize("kind", [pytest.param("ema", marks=pytest.mark.slow), "swa"])
def test_the_mean_is_kept_and_a_resumed_run_is_the_same(adapt, learned, tmp_path, kind):
    training = {"epochs": 1, "rate": 3e-3, "batch_tokens": 64, "average": kind}
    whole, plain = adapt("whole", training=training), learned(training=training | {"average": "none"})
    kept, last = (load_file(run.folder.model / "model.safetensors") for run in (whole, plain))
    assert any(not torch.equal(kept[name], last[name]) for name in kept)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        api.carry_out(whole.recipe, tmp_path / "stopped", Watch(stop=lambda: next(asked) == 8))
    again = api.carry_out(whole.recipe, tmp_path / "stopped", Watch(), resume=True)
    resumed = load_file(again.folder.model / "model.safetensors")
    assert all(torch.equal(kept[name], resumed[name]) for name in kept)
