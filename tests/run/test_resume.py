"""Nothing is lost: stopped, killed, damaged or out of disk, a run goes on to the very same weights."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import rows_of, write_csv

import rootstock as rs
from rootstock.core.errors import Interrupted, WriteFailed
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.watch import Watch
from rootstock.loop import checkpoint
from rootstock.verbs import api, verify

TRAINING = {"epochs": 2, "rate": 3e-3, "batch_tokens": 64, "checkpoint_steps": 3, "dropout": 0.1, "evaluations": 2}


def kept(path):
    folder = RunFolder(path).model
    return {key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()}


def assert_same(first, second):
    a, b = kept(first), kept(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def stop_after(steps):
    return verify._Countdown(steps)


def interrupt(recipe, out, steps):
    with pytest.raises(Interrupted) as stopped:
        api.carry_out(recipe, out, Watch(stop=stop_after(steps)))
    return stopped.value


@pytest.fixture
def straight(learned):
    """A run that nobody disturbed."""
    return learned(training=TRAINING)


def recipe_of(run):
    return read_recipe(run.folder.recipe)


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow), "feature-extraction"])
def test_stopped_and_resumed_is_the_same_run(learned, tmp_path, method):
    run = learned(training=TRAINING, **({} if method == "full" else {"method": method}))
    recipe = recipe_of(run)
    stopped = interrupt(recipe, tmp_path / "stopped", 4)
    assert stopped.exit_code == 130
    assert "--resume" in str(stopped)
    assert not RunFolder(tmp_path / "stopped").complete
    api.carry_out(recipe, tmp_path / "stopped", Watch(), resume=True)
    assert_same(run.path, tmp_path / "stopped")
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "stopped" / "history.jsonl").read_text().splitlines() if '"event": "step"' in line
    ]
    assert steps == list(range(1, len(steps) + 1))


def test_a_damaged_checkpoint_is_passed_over_with_a_word(straight, tmp_path):
    recipe, out = recipe_of(straight), tmp_path / "stopped"
    interrupt(recipe, out, 8)
    newest = checkpoint.saved(out / "checkpoints")[-1]
    victim = newest / "optimizer.safetensors"
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 1
    victim.write_bytes(raw)
    said = []
    api.carry_out(recipe, out, Watch(say=said.append), resume=True)
    assert any("damaged" in line and newest.name in line for line in said)
    assert_same(straight.path, out)


@pytest.mark.parametrize("noted", [False, True], ids=["before it was noted", "after it was noted"])
def test_a_measurement_that_fails_costs_nothing(adapt, straight, tmp_path, monkeypatch, noted):
    """A pain of long runs: hours of training were lost to an evaluation that failed after them."""
    from rootstock.loop import train

    monkeypatch.setattr(train, "_WORTH_SAVING", 0.0)
    recipe, out = recipe_of(straight), tmp_path / "failing"
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"checkpoint_steps": None})})
    real, calls = train.Training._evaluate, []

    def fail_at_the_third(self):
        calls.append(self.at.step)
        if len(calls) == 3 and noted:
            real(self)
        if len(calls) == 3:
            raise RuntimeError("the measurement failed")
        real(self)

    monkeypatch.setattr(train.Training, "_evaluate", fail_at_the_third)
    with pytest.raises(RuntimeError, match="the measurement failed"):
        api.carry_out(recipe, out, Watch())
    saved, _ = checkpoint.newest(out / "checkpoints")
    assert saved.step == calls[-1]
    api.carry_out(recipe, out, Watch(), resume=True)
    assert_same(straight.path, out)
    events = [[json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()] for path in (straight.path, out)]
    kinds = [[(event["event"], event["step"]) for event in run] for run in events]
    assert kinds[0] == kinds[1], "nothing happened twice, nothing is missing"


def test_what_follows_the_training_may_fail(straight, tmp_path, monkeypatch):
    from rootstock.loop import train
    from rootstock.run import execute

    monkeypatch.setattr(train, "_WORTH_SAVING", 0.0)
    recipe, out, real = recipe_of(straight), tmp_path / "failing", execute.conclude
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"checkpoint_steps": None})})

    def fail(*_):
        raise RuntimeError("no report today")

    monkeypatch.setattr(execute, "conclude", fail)
    with pytest.raises(RuntimeError, match="no report"):
        api.carry_out(recipe, out, Watch())
    monkeypatch.setattr(execute, "conclude", real)
    said = []
    api.carry_out(recipe, out, Watch(say=said.append), resume=True)
    last = straight.metrics["steps"]
    assert any(f"from step {last} of {last}" in line for line in said)
    assert_same(straight.path, out)


def test_a_kill_in_the_first_moment_leaves_the_folder_free(straight, tmp_path):
    out = tmp_path / "early"
    out.mkdir()
    (out / "ledger.json").write_text("{}")
    (out / "recipe.yaml.part").write_text("ba")
    api.carry_out(recipe_of(straight), out, Watch())
    assert RunFolder(out).complete
    for own in ("recipe.yaml", "README.md", "model"):
        place = tmp_path / f"with {own}"
        place.mkdir()
        (place / own).mkdir() if own == "model" else (place / own).write_text("mine")
        with pytest.raises(rs.RootstockError, match="holds other files"):
            api.carry_out(recipe_of(straight), place, Watch())


def test_labels_corrected_in_between_are_another_run(adapt, tmp_path):
    rows = rows_of(120)
    data = write_csv(tmp_path / "mine.csv", rows)
    recipe = recipe_of(adapt(out="straight", data=data, training=TRAINING | {"epochs": 1}))
    interrupt(recipe, tmp_path / "stopped", 4)
    write_csv(data, [(text, "negative" if i == 4 else label) for i, (text, label) in enumerate(rows)])
    with pytest.raises(rs.RootstockError, match="another recipe, base or data"):
        api.carry_out(recipe, tmp_path / "stopped", Watch(), resume=True)


def test_a_good_checkpoint_outlives_damaged_ones(straight, tmp_path):
    recipe, out = recipe_of(straight), tmp_path / "stopped"
    interrupt(recipe, out, 9)
    good, bad = checkpoint.saved(out / "checkpoints")
    (bad / "state.json").write_text("{}")
    with pytest.raises(Interrupted):
        api.carry_out(recipe, out, Watch(stop=stop_after(1)), resume=True)
    found, damaged = checkpoint.newest(out / "checkpoints")
    assert found is not None
    assert found.step == int(good.name.split("-")[1]) + 1
    assert not damaged


@pytest.mark.parametrize("damage", [*(pytest.param(each, marks=pytest.mark.slow) for each in ("truncate", "remove")), "state", "every"])
def test_other_damage(straight, tmp_path, damage):
    recipe, out = recipe_of(straight), tmp_path / "stopped"
    interrupt(recipe, out, 8)
    for folder in checkpoint.saved(out / "checkpoints")[0 if damage == "every" else -1 :]:
        victim = folder / ("state.json" if damage == "state" else "trained.safetensors")
        if damage == "remove":
            victim.unlink()
        else:
            victim.write_bytes(victim.read_bytes()[:-10])
    api.carry_out(recipe, out, Watch(), resume=True)
    assert_same(straight.path, out)


def test_a_checkpoint_of_another_run_is_refused(straight, tmp_path):
    run, first, second = straight, tmp_path / "a", tmp_path / "b"
    interrupt(recipe_of(run), first, 4)
    other = api.again(run.folder.recipe, {"training.rate": 1e-3})
    interrupt(other, second, 4)
    shutil.rmtree(first / "checkpoints")
    shutil.copytree(second / "checkpoints", first / "checkpoints")
    with pytest.raises(rs.RootstockError, match="another recipe"):
        api.carry_out(recipe_of(run), first, Watch(), resume=True)


def test_a_full_disk_is_one_line_and_leaves_what_was_saved(straight, tmp_path, monkeypatch):
    recipe, out = recipe_of(straight), tmp_path / "stopped"
    real, calls = os.fsync, []

    def fsync(handle):
        calls.append(handle)
        if len(calls) > 14:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(WriteFailed, match="the disk is full"):
            api.carry_out(recipe, out, Watch())
    assert checkpoint.saved(out / "checkpoints")
    assert not list(out.rglob("*.part"))
    api.carry_out(recipe, out, Watch(), resume=True)
    assert_same(straight.path, out)


def test_verify_resume_says_identical_and_can_say_otherwise(straight, monkeypatch):
    found = verify.verify(straight.folder.recipe, 6, lambda text: None)
    assert found["identical"]
    assert found["tensors"] > 50
    from rootstock.loop import train

    monkeypatch.setattr(train, "set_random_state", lambda states: None)
    broken = verify.verify(straight.folder.recipe, 6, lambda text: None, restart=verify.go_on)
    assert not broken["identical"]
    assert broken["first_difference"].startswith("step 4")


KILLED = """
import sys, rootstock
import torch
torch.set_num_threads(1)
from pathlib import Path
from rootstock.core.runfolder import read_recipe
from rootstock.verbs import api
from rootstock.core.watch import Watch
recipe, out = Path(sys.argv[1]), Path(sys.argv[2])
api.carry_out(read_recipe(recipe), out, Watch(), resume=(out / "recipe.yaml").exists())
"""


@pytest.fixture
def pretrained(tiny_base, tmp_path):
    """A pre-training that nobody disturbed."""
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in rows_of(120)))
    values = {"base": str(tiny_base), "task": {"name": "masked-lm"}, "method": {"name": "full"}, "training": TRAINING}
    return api.carry_out(Recipe.build({**values, "data": {"train": str(texts), "validation": 0.2}}, ""), tmp_path / "pretrained", Watch())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["straight", "pretrained"])
def test_sigkill_at_random_moments(kind, request, tmp_path):
    """bench/kills.py does this twenty times."""
    straight = request.getfixturevalue(kind)
    rng = random.Random(0)
    for attempt in range(3):
        out = tmp_path / f"killed-{attempt}"
        command = [sys.executable, "-c", KILLED, str(straight.folder.recipe), str(out)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wanted = rng.randint(2, 20)
        history = out / "history.jsonl"
        while (
            process.poll() is None
            and not (out / "checkpoints").exists()
            and not (history.exists() and history.stat().st_size > wanted * 200)
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        assert_same(straight.path, out)


def test_accumulated_micro_batches_are_one_large_batch(adapt):
    """A published fault of trainers: gradient accumulation changed the loss."""
    exact = TRAINING | {"dropout": 0.0, "precision": "fp32"}
    large = adapt(out="large", training=exact | {"steps": 6})
    small = adapt(out="small", training=exact | {"steps": 6, "micro_tokens": 16})
    losses = [
        [json.loads(line)["loss"] for line in (run.path / "history.jsonl").read_text().splitlines() if '"event": "step"' in line]
        for run in (large, small)
    ]
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-3, atol=1e-4)


def test_diff_names_what_changed_and_where_the_runs_part(adapt):
    from rootstock.verbs.differences import as_text, compare

    short = TRAINING | {"steps": 4}
    first, same, rate = (adapt(out="a", training=short), adapt(out="b", training=short), adapt(out="c", training=short | {"rate": 1e-3}))
    assert compare(first.path, same.path)["first_step"] is None
    assert "same steps" in as_text(compare(first.path, same.path))
    found = compare(first.path, rate.path)
    assert found["settings"] == {"training.rate": [3e-3, 1e-3]}
    assert found["first_step"]["step"] == 1
    assert found["first_step"]["key"] == "rate"
    seed = compare(first.path, adapt(out="d", training=short, seed=7).path)
    assert seed["first_step"] == {**seed["first_step"], "step": 1, "key": "batch"}


def test_a_row_changed_is_named_by_diff(adapt, tmp_path):
    from tests.conftest import rows_of, write_csv

    from rootstock.verbs.differences import compare

    rows = rows_of(120)
    first = adapt(out="a", data=write_csv(tmp_path / "a.csv", rows), training=TRAINING | {"epochs": 1})
    rows[50] = ("a very very cold cold book", "negative")
    second = adapt(out="b", data=write_csv(tmp_path / "b.csv", rows), training=TRAINING | {"epochs": 1})
    found = compare(first.path, second.path)
    assert any("sha256" in key for key in found["data"])
    assert found["first_step"]["key"] == "batch"


def test_an_unfinished_run_is_compared_as_far_as_it_went(straight, tmp_path):
    from rootstock.verbs.differences import as_text, compare

    second = shutil.copytree(straight.path, tmp_path / "b")
    (second / "manifest.json").unlink()
    found = compare(straight.path, second)
    assert found["unfinished"] == [str(second)]
    assert not any(found[aspect] for aspect in ("base", "data", "versions", "hardware", "metrics"))
    assert "has not ended" in as_text(found)
    assert "None" not in as_text(found)
