"""Frozen blocks computed once: the same losses, the same bits when resumed, the whole model saved; and where it can't be, a reason."""

import json
import shutil
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.conftest import make_base, rows_of, write_csv

import rootstock as rs
from rootstock import catalog
from rootstock.core.errors import Interrupted
from rootstock.core.resources import cache_folder
from rootstock.core.runfolder import read_recipe
from rootstock.core.watch import Watch
from rootstock.data import mapped
from rootstock.methods.top_layers import TopLayers
from rootstock.run import lower, waited
from rootstock.verbs import api, verify

TRAINING = {"epochs": 3, "rate": 3e-3, "batch_tokens": 64, "precision": "fp32", "cache_layers": "yes"}
METHODS = {
    "top-layers": {"blocks": 2},
    "gradual-unfreezing": {"blocks": 2, "until": 1},
    "gradual-unfreezing-all": {"until": 0.8},
    "lora": {"layers": [2, 3]},
}


def each_kind(quick):
    """All of METHODS; what is not quick waits for the long suite."""
    return [pytest.param(kind, marks=() if kind in quick else pytest.mark.slow) for kind in METHODS]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"), num_hidden_layers=4)


@pytest.fixture
def rows(tmp_path):
    """A CSV of 60 texts."""
    return write_csv(tmp_path / "rows.csv", rows_of(60))


@pytest.fixture
def train(base, rows, tmp_path):
    """Carry out a run of one of METHODS and give it with what was said; keyword arguments change training."""

    def run(kind, out="run", **more):
        name = kind.removesuffix("-all")
        method = catalog.find("methods", name).build(METHODS[kind], "method")
        recipe = api.Recipe.build(
            {
                "base": str(more.pop("base", base)),
                "data": {"train": str(more.pop("data", rows))},
                "method": {"name": name, **method.plain()},
                "budget": more.pop("budget", {}),
                "training": TRAINING | more,
            },
            "",
        )
        said = []
        return api.carry_out(recipe, tmp_path / out, Watch(say=said.append)), [line for line in said if line.startswith("layers")]

    return run


def losses(run):
    events = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["event"] == "step"], [event for event in events if event["event"] == "evaluation"]


def weights(path):
    return {key: value for file in (path / "model").glob("*.safetensors") for key, value in load_file(file).items()}


@pytest.mark.parametrize("kind", each_kind(quick=("top-layers", "gradual-unfreezing-all")))
def test_the_same_losses_and_answers_with_and_without(train, kind):
    plain, said = train(kind, "plain", cache_layers="no")
    assert not said
    kept, said = train(kind, "kept")
    assert "computed once" in said[-1]
    again, said = train(kind, "again")
    assert "from the cache" in said[-1]
    (expected, measured), (found, told) = losses(plain), losses(kept)
    assert len(set(expected)) > 10
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose([each["log_loss"] for each in told], [each["log_loss"] for each in measured], atol=1e-5)
    assert losses(again)[0] == found  # bit for bit
    first, second = weights(plain.path), weights(kept.path)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=2e-4)
    if kind == "top-layers":
        model = transformers.AutoModelForSequenceClassification.from_pretrained(kept.path / "model").eval()
        assert model.config.num_hidden_layers == 4


def test_states_kept_in_bf16_give_the_same_bits_to_a_model_that_has_its_fp32_weights_back(train):
    run, said = train("top-layers", "bf16", precision="bf16")
    assert "computed once" in said[-1]
    assert (run.path / "model" / "config.json").is_file()
    plain, _ = train("top-layers", "plain", precision="bf16", cache_layers="no")
    assert losses(run)[0] == losses(plain)[0]


@pytest.fixture
def wrong_states(monkeypatch):
    """A cache that gives others than it was given."""
    real = mapped.opened

    def opened(path):
        found = real(path)
        return None if found is None else np.random.default_rng(0).normal(size=found.shape).astype(np.float32)

    monkeypatch.setattr(mapped, "opened", opened)


def test_the_states_are_really_used(train, wrong_states, monkeypatch):
    plain, _ = train("top-layers", "plain", epochs=1, cache_layers="no")
    monkeypatch.setattr("rootstock.run.finish._KEPT_TOLERANCE", 10.0)
    wrong, _ = train("top-layers", "wrong", epochs=1)
    assert max(abs(a - b) for a, b in zip(losses(plain)[0], losses(wrong)[0], strict=True)) > 1e-3


def test_a_model_to_save_that_answers_otherwise_is_not_written(train, wrong_states, tmp_path):
    with pytest.raises(rs.RootstockError, match="answers otherwise"):
        train("top-layers", "wrong", epochs=1)
    assert not (tmp_path / "wrong" / "model").exists()


@pytest.mark.parametrize("kind", each_kind(quick=("gradual-unfreezing-all", "lora")))
def test_stopped_and_resumed_is_the_same_run(train, tmp_path, kind):
    straight, _ = train(kind, "straight", checkpoint_steps=5, evaluations=2)
    recipe, out = read_recipe(straight.folder.recipe), tmp_path / "stopped"
    for steps, resume in ((4, False), (13, True)):
        with pytest.raises(Interrupted):
            api.carry_out(recipe, out, Watch(stop=verify._Countdown(steps)), resume=resume)
    api.carry_out(recipe, out, Watch(), resume=True)
    first, second = weights(straight.path), weights(out)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert losses(straight)[0] == losses(SimpleNamespace(path=out))[0]


def test_only_the_disk_is_filled_by_a_cache_of_large_rows(train):
    train("top-layers", epochs=1)
    files = list((cache_folder() / "layers").iterdir())
    assert len(files) == 2  # training and validation rows at one depth
    assert all(isinstance(mapped.opened(path), np.memmap) for path in files)


def test_numbers_that_hardly_differ_are_held_to_the_spread_of_the_true_ones(tiny_base, tmp_path):
    """What is predicted where nothing is to be learned is nearly one number: rounding in bf16 is far beside its spread."""
    rows = write_csv(tmp_path / "amounts.csv", [(text, 90 + number % 7) for number, (text, _) in enumerate(rows_of(60))], ("text", "score"))
    training = {"steps": 3, "rate": 1e-5, "cache_layers": "yes", "precision": "bf16"}
    run = rs.adapt(rows, base=str(tiny_base), task="regression", method=TopLayers(blocks=1), training=training, out=tmp_path / "run")
    assert (run.path / "model" / "model.safetensors").is_file()


def test_other_rows_and_another_depth_are_other_entries(train, tmp_path):
    train("top-layers", epochs=1)
    _, said = train("top-layers", "other", epochs=1, data=write_csv(tmp_path / "other.csv", rows_of(50, seed=5)))
    assert "computed once" in said[-1]
    assert len(list((cache_folder() / "layers").iterdir())) == 4
    _, said = train("lora", "same depth", epochs=1)
    assert "from the cache" in said[-1]  # the same blocks of the same base below another method
    _, said = train("gradual-unfreezing", "more depths", epochs=1)
    assert "computed once" in said[-1]
    assert len(list((cache_folder() / "layers").iterdir())) == 8


def test_a_damaged_entry_is_made_again(train):
    train("top-layers", epochs=1)
    victim = max((cache_folder() / "layers").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[-5] ^= 1
    victim.write_bytes(data)
    _, said = train("top-layers", "again", epochs=1)
    assert "computed once" in said[-1]


REASONS = {
    "a pass to keep what they give costs more": {"cache_layers": "auto", "epochs": 1},
    "dropout of 0.1 draws at random": {"dropout": 0.1},
}


@pytest.mark.parametrize("reason", REASONS)
def test_where_it_does_not_suit_the_reason_is_said(train, reason):
    run, said = train("top-layers", **REASONS[reason])
    assert len(said) == 1
    assert reason in said[0]
    assert run.metrics["metrics"]["accuracy"]
    assert not (cache_folder() / "layers").exists()


def test_a_disk_without_room_is_not_filled(train, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000_000))
    _, said = train("top-layers", epochs=1)
    assert len(said) == 1
    assert "takes 0.1 MB" in said[0]
    assert "1.0 GB free" in said[0]


def test_what_is_spent_is_said_before(train):
    _, said = train("top-layers", epochs=1)
    assert "0.1 MB of" in said[0]
    assert "computed once" not in said[0]


def test_a_budget_without_room_for_the_pass(train, monkeypatch):
    monkeypatch.setattr(lower.features, "tried", lambda *_: 100.0)
    _, said = train("top-layers", epochs=1, budget={"minutes": 1})
    assert "about 200 s of --minutes 1" in said[-1]


def test_a_rehearsal_says_what_it_will_take_and_keeps_nothing(train):
    from rootstock.run.execute import dry_run
    from rootstock.run.prepare import prepare

    run, _ = train("top-layers", "first", cache_layers="no")
    recipe = read_recipe(run.folder.recipe)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"cache_layers": "auto"})})
    said = []
    predicted = dry_run(prepare(recipe, said.append), run.folder, Watch(say=said.append))
    assert predicted["layers"]["depths"] == [2]
    assert predicted["layers"]["computed_bytes"] > 0
    assert any("will take about" in line for line in said)
    assert not (cache_folder() / "layers").exists()


def test_masks_that_are_drawn_anew_leave_nothing_to_keep(base, tmp_path):
    recipe = {
        "base": str(base),
        "task": {"name": "masked-lm"},
        "data": {"train": str(write_csv(tmp_path / "texts.csv", [(text,) for text, _ in rows_of(60)], header=("text",)))},
        "method": {"name": "lora", "layers": [3]},
        "training": {"steps": 2, "batch_tokens": 64, "cache_layers": "yes"},
        "accept": ["duplicates", "overlap"],
    }
    api.carry_out(api.Recipe.build(recipe, ""), tmp_path / "run", Watch())
    assert not (cache_folder() / "layers").exists()


def test_two_runs_that_need_the_same_states_do_not_make_them_both(train, monkeypatch, tmp_path):
    """One that makes them just now is waited for, and what it made is found; who waits for too long does without."""
    straight, _ = train("top-layers", "straight")
    made = tmp_path / "made"
    (cache_folder() / "layers").rename(made)
    real = waited.alone

    @contextmanager
    def after_another(path, **more):
        with real(path, **more):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / path.name, path)
            yield

    monkeypatch.setattr(waited, "alone", after_another)
    monkeypatch.setattr(lower, "_filled", None)
    assert losses(train("top-layers", "found")[0])[0] == losses(straight)[0]
    shutil.rmtree(cache_folder() / "layers")
    monkeypatch.setattr(waited, "alone", real)
    monkeypatch.setattr(lower, "_WAIT_SECONDS", 0.0)
    with ExitStack() as other:
        for path in made.iterdir():
            other.enter_context(real(cache_folder() / "layers" / path.name))
        run, said = train("top-layers", "without")
    assert "another run has been making what they give" in said[-1]
    assert losses(run)[0] == pytest.approx(losses(straight)[0], rel=1e-5)


def test_of_a_budget_no_more_goes_into_a_wait_and_a_pass_after_it_than_into_a_pass(train, monkeypatch):
    given, real = [], lower.by_one
    monkeypatch.setattr(lower.features, "tried", lambda *_: 7.0)  # each side, so 14 seconds in all
    monkeypatch.setattr(lower, "by_one", lambda paths, watch, *, seconds: given.append(seconds) or real(paths, watch, seconds=seconds))
    train("top-layers", "hurried", epochs=1, budget={"minutes": 1})
    assert len(given) == 2
    assert all(0 < each < 30 - 14 for each in given)
    shutil.rmtree(cache_folder() / "layers")
    train("top-layers", "at leisure", epochs=1)
    assert given[2:] == [lower._WAIT_SECONDS] * 2
