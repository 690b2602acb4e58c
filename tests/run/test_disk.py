"""What a run will write is counted before it learns; where that or anything else is refused before the first update, nothing is left."""

import re
from collections import namedtuple
from contextlib import contextmanager

import pytest

from rootstock.core.artifact import digest_folder
from rootstock.core.errors import Interrupted, OutOfMemory, WriteFailed
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.loop.train import Training
from rootstock.run import disk, warm_up
from rootstock.verbs import api, verify

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def recipe(tiny_base, reviews):
    training = {"epochs": 1, "batch_tokens": 128, "checkpoint_steps": 1}
    return Recipe.build({"base": str(tiny_base), "method": {"name": "full"}, "data": {"train": str(reviews)}, "training": training}, "")


@pytest.fixture
def full(monkeypatch):
    """A disk without room, inside."""

    @contextmanager
    def inside():
        with monkeypatch.context() as patched:
            patched.setattr(disk.shutil, "disk_usage", lambda place: Usage(10**12, 10**12, 10**6))
            yield

    return inside


def test_a_refused_run_leaves_nothing_and_the_same_call_does_it_later(recipe, tmp_path, full):
    out = tmp_path / "out" / "run"
    with full(), pytest.raises(WriteFailed, match=re.escape("has 0.0 GB free, and this run writes up to")) as refused:
        api.carry_out(recipe, out, Watch())
    assert "--overwrite" not in refused.value.fix
    assert not out.parent.exists()
    planned = api.carry_out(recipe, out, Watch()).folder.json("plan.json")["predicted"]["disk_bytes"]
    held = sum(path.stat().st_size for path in (out / "model").iterdir())
    assert planned > held


def test_a_refused_run_leaves_the_one_that_it_would_replace(recipe, tmp_path, full):
    out = tmp_path / "run"
    api.carry_out(recipe, out, Watch())
    before = digest_folder(out)
    with full(), pytest.raises(WriteFailed, match="GB free"):
        api.carry_out(recipe, out, Watch(), overwrite=True)
    assert digest_folder(out) == before
    again = api.carry_out(recipe.model_copy(update={"seed": 7}), out, Watch(), overwrite=True)
    assert again.recipe.seed == 7
    assert not [each for each in out.iterdir() if each.name.endswith(".part")]


def test_a_step_that_does_not_fit_leaves_nothing_either(recipe, tmp_path, monkeypatch):
    def short(training, rows):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Training, "rehearse", short)
    with pytest.raises(OutOfMemory):
        api.carry_out(recipe, tmp_path / "run", Watch())
    assert not (tmp_path / "run").exists()


def test_a_warm_up_that_does_not_fit_leaves_nothing_either(recipe, tmp_path, monkeypatch):
    def short(training):
        raise OutOfMemory("no memory left")

    monkeypatch.setattr(warm_up, "_tried", short)
    with pytest.raises(OutOfMemory):
        api.carry_out(recipe.model_copy(update={"method": {"name": "few-shot"}}), tmp_path / "run", Watch())
    assert not (tmp_path / "run").exists()


def test_what_has_learned_stays(recipe, tmp_path, full):
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "run", Watch(stop=verify._Countdown(3)))
    before = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    with full(), pytest.raises(WriteFailed, match="GB free"):
        api.carry_out(recipe, tmp_path / "run", Watch(), resume=True)
    assert RunFolder(tmp_path / "run").begun
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == before
    assert api.carry_out(recipe, tmp_path / "run", Watch(), resume=True).folder.complete
