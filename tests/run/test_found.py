"""Rate and batch that are found by trying: recorded, the same again, and without a trace in the training."""

import json
import resource
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from rootstock.core.errors import Interrupted, OutOfMemory, RecipeError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.resources import peak_memory
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.watch import Watch
from rootstock.loop import range_test
from rootstock.methods.feature_extraction import FeatureExtraction
from rootstock.planning import advise
from rootstock.run import begin, largest
from rootstock.run.prepare import prepare
from rootstock.verbs import api, verify

TRAINING = {"epochs": 2, "rate": "find", "batch_tokens": 64, "precision": "fp32"}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Fewer steps of a sweep: these models are tiny."""
    monkeypatch.setattr(range_test, "STEPS", 30)


def weights(path):
    return {name: value for file in (path / "model").glob("*.safetensors") for name, value in load_file(file).items()}


def same(first, second):
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", ["full", pytest.param("gradual-unfreezing", marks=pytest.mark.slow)])
def test_a_found_rate_is_recorded_and_leaves_no_trace(adapt, method):
    found = adapt(method=method, training=TRAINING | {"dropout": 0.1})
    rate = yaml.safe_load(found.folder.recipe.read_text())["training"]["rate"]
    told = json.loads((found.path / "plan.json").read_text())["found"]["rate"]
    assert told["rate"] == rate > 0
    assert len(told["rates"]) == len(told["losses"])
    assert str(told["reason"]) in (found.path / "report.html").read_text("utf-8")
    given = adapt(out="given", method=method, training=TRAINING | {"dropout": 0.1, "rate": rate})
    assert same(found.path, given.path), "the range test left something behind"
    assert "found" not in json.loads((given.path / "plan.json").read_text())


def test_stopped_in_or_after_the_range_test_it_goes_on_to_the_same_weights(adapt, tmp_path):
    straight = adapt(training=TRAINING)
    recipe = Recipe.build(read_recipe(straight.folder.recipe).plain(), "")
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"rate": "find", "checkpoint_steps": 2})})
    for name, asked in (("in", 10), ("after", 33), ("by-hand", 33)):
        with pytest.raises(Interrupted) as stopped:
            api.carry_out(recipe, tmp_path / name, Watch(stop=verify._Countdown(asked)))
        assert "--resume" in stopped.value.fix
        held = read_recipe(RunFolder(tmp_path / name).recipe)
        assert (held.training.rate == "find") == (name == "in")
        api.carry_out(recipe if name == "by-hand" else held, tmp_path / name, Watch(), resume=True)
        assert same(straight.path, tmp_path / name)
        assert json.loads((tmp_path / name / "plan.json").read_text())["found"]["rate"]["rate"] > 0


@pytest.mark.parametrize(("training", "said"), [({"rate": "find"}, "no steps"), ({"micro_tokens": "find"}, "without gradients")])
def test_what_nothing_can_be_found_for_is_refused(tiny_base, reviews, tmp_path, training, said):
    with pytest.raises(RecipeError, match=said):
        api.adapt(reviews, base=str(tiny_base), method=FeatureExtraction(head="knn"), training=training, out=tmp_path / "run")


@pytest.mark.parametrize("key", ["rate", "micro_tokens"])
def test_a_number_is_above_zero(key):
    with pytest.raises(UsageError, match=f"training.{key} is 0"):
        Recipe.build({"data": {"train": "x.csv"}, "training": {key: 0}}, "")


@pytest.mark.parametrize("room", [64, 100, 777, 5000, 8191, 8192])
def test_the_most_that_fit_are_found_to_a_tenth(room):
    tokens, tried = largest.search(lambda size: 1000 + size, lowest=64, most=8192, limit=1000 + room)
    assert tokens <= room
    assert tokens * 1.11 >= min(room, 8192) - 1
    assert len(tried) < 14
    assert max(size for size, _ in tried) <= 2 * room, "what is far above the limit is not tried"


def test_a_size_at_which_the_process_dies_is_too_large():
    tokens, _ = largest.search(lambda size: 10 if size < 300 else None, lowest=64, most=8192, limit=100)
    assert 270 <= tokens < 300
    with pytest.raises(OutOfMemory, match="not even the longest row"):
        largest.search(lambda size: None, lowest=64, most=8192, limit=100)


def test_a_found_batch_is_recorded_and_changes_rounding_only(adapt, monkeypatch):
    monkeypatch.setattr(largest._Trier, "measure", lambda self, tokens: tokens * 10**6)
    monkeypatch.setattr(largest, "free_memory", lambda device: 40 * 10**6)
    training = {"epochs": 1, "rate": 1e-3, "batch_tokens": 64, "precision": "fp32"}
    found, plain = adapt(training=training | {"micro_tokens": "find"}), adapt(out="plain", training=training)
    told = json.loads((found.path / "plan.json").read_text())["found"]["micro_tokens"]
    assert yaml.safe_load(found.folder.recipe.read_text())["training"]["micro_tokens"] == told["tokens"] <= 20
    assert "of the free memory" in told["reason"]
    assert told["reason"] in (found.path / "report.html").read_text("utf-8")
    a, b = weights(found.path), weights(plain.path)
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)


def test_how_a_batch_was_found_outlasts_a_stop_before_the_model_is_built(adapt, monkeypatch, tmp_path):
    monkeypatch.setattr(largest, "find", lambda *_: {"tokens": 64, "reason": "tried"})
    monkeypatch.setattr(begin, "build", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        adapt(training={"epochs": 1, "batch_tokens": 64, "micro_tokens": "find"})
    place = next(tmp_path.rglob("plan.json"))
    assert json.loads(place.read_text())["found"] == {"micro_tokens": {"tokens": 64, "reason": "tried"}}
    assert yaml.safe_load((place.parent / "recipe.yaml").read_text())["training"]["micro_tokens"] == 64


def test_a_budget_of_memory_sets_what_passes_at_once(adapt, monkeypatch, caplog):
    monkeypatch.setattr(largest._Trier, "measure", lambda self, tokens: tokens * 10**6)
    monkeypatch.setattr(largest, "free_memory", lambda device: 10**10)
    training = {"epochs": 1, "rate": 1e-3, "batch_tokens": 64, "precision": "fp32"}
    with caplog.at_level("INFO", logger="rootstock"):
        run = adapt(training=training, budget={"memory": "40 MB"})
    told = json.loads((run.path / "plan.json").read_text())["found"]["micro_tokens"]
    assert told["limit_bytes"] == int(0.92 * 40e6)
    assert "92% of --memory 40 MB" in told["reason"]
    assert 33 <= yaml.safe_load(run.folder.recipe.read_text())["training"]["micro_tokens"] == told["tokens"] <= 36
    assert "more than --memory 40 MB" in caplog.text, "what was held is told where it was more"


@pytest.mark.parametrize(
    ("memory", "training", "said"),
    [
        ("5MB", {}, "not even the longest row"),
        ("300MB", {"micro_tokens": 64}, "the run would hold about"),
        ("x", {}, "budget.memory is x"),
        (0, {}, "budget.memory is 0"),
        (5_000_000, {}, "not even the longest row"),
    ],
)
def test_a_budget_that_no_step_fits_into_is_refused(adapt, monkeypatch, memory, training, said):
    monkeypatch.setattr(largest._Trier, "measure", lambda self, tokens: tokens * 10**6)
    with pytest.raises(UsageError, match=said):
        adapt(training={"epochs": 1, "rate": 1e-3, "batch_tokens": 64} | training, budget={"memory": memory})


def test_a_machine_with_less_than_the_budget_is_what_is_blamed(adapt, monkeypatch):
    monkeypatch.setattr(largest._Trier, "measure", lambda self, tokens: tokens * 10**6)
    monkeypatch.setattr(largest, "free_memory", lambda device: 10**6)
    with pytest.raises(OutOfMemory, match="not even the longest row") as refused:
        adapt(training={"epochs": 1, "rate": 1e-3, "batch_tokens": 64}, budget={"memory": "40MB"})
    assert "--memory" not in str(refused.value)


def test_a_run_goes_on_under_another_budget_of_memory(adapt, tmp_path, monkeypatch):
    """Its passes are settled by then: more memory would change nothing, and less would be told."""
    straight = adapt(training=TRAINING | {"rate": 1e-3, "checkpoint_steps": 2, "micro_tokens": 64})
    recipe = read_recipe(straight.folder.recipe)
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "stopped", Watch(stop=verify._Countdown(3)))
    more = recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"memory": "900GB"})})
    assert same(straight.path, api.carry_out(more, tmp_path / "stopped", Watch(), resume=True).path)


def test_the_method_that_is_picked_fits_into_the_budget_of_memory(tiny_base, reviews, monkeypatch):
    monkeypatch.setattr(advise, "FEW_ROWS", 10)
    values = {"data": {"train": str(reviews)}, "training": {"epochs": 1}, "base": str(tiny_base)}
    for memory, name in ((None, "full"), ("1kB", "feature-extraction")):
        recipe = Recipe.build({**values, "budget": {"memory": memory}}, "")
        assert prepare(recipe, lambda text: None).recipe.method["name"] == name


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not forget what a process held")
def test_what_the_process_held_before_is_not_held_by_a_run(adapt):
    held = bytearray(10**9)
    held[:: resource.getpagesize()] = b"1" * len(held[:: resource.getpagesize()])
    del held
    most = peak_memory()
    assert adapt(method="feature-extraction", training={"epochs": 1}, budget={"memory": f"{most - 300_000_000}"}).metrics


def test_a_pass_of_a_frozen_base_is_held_to_the_budget_too(adapt):
    with pytest.raises(UsageError, match="at most --memory 50MB"):
        adapt(method="feature-extraction", training={"epochs": 1}, budget={"memory": "50MB"})


@pytest.mark.slow
def test_steps_are_tried_in_a_process_of_its_own(adapt):
    run = adapt(training={"epochs": 1, "rate": 1e-3, "batch_tokens": 64, "micro_tokens": "find"})
    told = json.loads((run.path / "plan.json").read_text())["found"]["micro_tokens"]
    assert told["tried"]
    assert all(10**8 < peak < told["limit_bytes"] for _, peak in told["tried"])
