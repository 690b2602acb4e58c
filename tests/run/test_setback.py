"""A loss that is no number: back to the last checkpoint at a lower rate, twice at most; then a stop that names the rows."""

import json

import pytest
import torch
from safetensors.torch import load_file

from rootstock.core.errors import Diverged, Interrupted
from rootstock.core.recipe import Recipe
from rootstock.core.task import Loss
from rootstock.core.watch import Watch
from rootstock.loop import train
from rootstock.verbs import api, verify

TRAINING = {"epochs": 2, "rate": 3e-3, "batch_tokens": 128, "checkpoint_steps": 3, "precision": "fp32", "evaluations": 1}
MARK = 7
"""The id of "fine"."""


@pytest.fixture
def recipe(tiny_base, reviews):
    return Recipe.build({"base": str(tiny_base), "method": {"name": "full"}, "data": {"train": str(reviews)}, "training": TRAINING}, "")


@pytest.fixture
def breaks(monkeypatch):
    """The loss is no number from a step on while the rate is above a limit."""

    def at(step, limit):
        real = train.Training._passed

        def passed(self, rows):
            made = real(self, rows)
            peak = self.job.settings.rate * train.LOWER**self.at.lowered
            return made._replace(loss=float("nan")) if self.at.step + 1 >= step and peak > limit else made

        monkeypatch.setattr(train.Training, "_passed", passed)

    return at


def events(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("limit", "times"), [(2e-3, 1), (5e-4, 2)])
def test_it_goes_on_from_the_checkpoint_at_a_lower_rate(recipe, tmp_path, breaks, limit, times):
    breaks(5, limit)
    said, run = [], tmp_path / "run"
    metrics = api.carry_out(recipe, run, Watch(say=said.append)).metrics
    assert metrics["rate_lowered"] == times
    assert sum(line.startswith("setback ") for line in said) == times
    assert sum("from step 3" in line for line in said) == times
    held = events(run)
    steps = {event["step"]: event["rate"] for event in held if event["event"] == "step"}
    assert list(steps) == list(range(1, len(steps) + 1)), "no step twice, none is missing"
    assert max(rate for step, rate in steps.items() if step > 3) <= 3e-3 * 0.25**times
    assert [(event["step"], event["lowered"]) for event in held if event["event"] == "setback"] == [(4, times)]


def test_killed_after_a_setback_it_still_comes_to_the_same_weights(recipe, tmp_path, breaks):
    breaks(5, 2e-3)
    api.carry_out(recipe, tmp_path / "straight", Watch())
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "stopped", Watch(stop=verify._Countdown(6)))
    api.carry_out(recipe, tmp_path / "stopped", Watch(), resume=True)
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("straight", "stopped"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_a_checkpoint_it_begins_again(recipe, tmp_path, breaks):
    breaks(2, 2e-3)
    assert api.carry_out(recipe, tmp_path / "run", Watch()).metrics["rate_lowered"] == 1
    assert [event["step"] for event in events(tmp_path / "run") if event["event"] == "setback"] == [1]


def test_the_third_time_it_stops_and_names_the_row(recipe, tmp_path, monkeypatch, reviews):
    real = train.loss_for

    def poisoned(*given):
        loss = real(*given)

        def marked(model, batch):
            found = loss(model, batch)
            broken = (batch["input_ids"] == MARK).sum(1).max() >= 2  # one text of the file says this word twice
            return Loss(found.total * float("nan"), found.count) if broken else found

        return marked

    text = reviews.read_text().splitlines()
    text[41] = "fine fine the film,positive"
    reviews.write_text("\n".join(text) + "\n")
    monkeypatch.setattr(train, "loss_for", poisoned)
    said = []
    with pytest.raises(Diverged) as stopped:
        api.carry_out(recipe, tmp_path / "run", Watch(say=said.append))
    assert sum(line.startswith("setback ") for line in said) == 2
    assert "0.0625 of the rate" in str(stopped.value)
    assert "row 42" in str(stopped.value), str(stopped.value)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_where_rates_are_compared_it_does_not_go_back(recipe, tmp_path, breaks):
    breaks(5, 2e-3)
    with pytest.raises(Diverged, match="at step 5"):
        api.carry_out(recipe, tmp_path / "run", Watch(goes_back=False))
