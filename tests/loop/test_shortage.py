"""A step that finds too little memory is made again in smaller parts, and changes the weights as if there had been enough."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tests.worlds import tight

from rootstock.core.errors import OutOfMemory
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.loop import train
from rootstock.verbs import api

SETTINGS = {"epochs": 1, "rate": 3e-3, "batch_tokens": 128, "dropout": 0.0, "precision": "fp32"}


@pytest.fixture
def recipe(tiny_base, reviews):
    def make(**more):
        values = {"base": str(tiny_base), "method": {"name": "full"}, "data": {"train": str(reviews)}, "training": SETTINGS | more}
        return Recipe.build(values, "")

    return make


def scarce(monkeypatch, most, *, from_call=6):
    """No memory for a pass of many rows: as `tight`. The rows of each call so far."""
    passed, calls = tight(train.Training._learned_from, most, from_call)
    monkeypatch.setattr(train.Training, "_learned_from", passed)
    return calls


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def test_the_weights_are_those_of_a_run_with_enough_memory(recipe, tmp_path, monkeypatch):
    api.carry_out(recipe(), tmp_path / "ample", Watch())
    calls, said = scarce(monkeypatch, 8), []
    api.carry_out(recipe(), tmp_path / "tight", Watch(say=said.append))
    assert max(calls[:6]) > 8
    assert any(size <= 8 for size in calls[6:])
    wanted, found = weights(tmp_path / "ample"), weights(tmp_path / "tight")
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-6, msg=name)
    events = [json.loads(line) for line in (tmp_path / "tight" / "history.jsonl").read_text().splitlines()]
    short = [event for event in events if event["event"] == "memory"]
    assert short
    assert sum(line.startswith("memory ") for line in said) == len(short) <= 3, "what was learned of memory is kept for later updates"
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_a_row_that_does_not_fit_alone_ends_the_run_with_a_message(recipe, tmp_path, monkeypatch):
    scarce(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="not even row by row"):
        api.carry_out(recipe(), tmp_path / "none", Watch())


def test_any_other_error_is_no_shortage(recipe, tmp_path, monkeypatch):
    def broken(self, model, batch):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(train.Training, "_learned_from", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        api.carry_out(recipe(), tmp_path / "broken", Watch())
