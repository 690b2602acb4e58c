"""What is said between Ray's workers and who asked for them; what is refused; what becomes of it where Ray gives up."""

import json
import time
from importlib.util import find_spec
from threading import Event
from threading import enumerate as enumerate_threads

import pytest
import torch
from safetensors.torch import load_file

from rootstock.core.errors import DataError, Interrupted, RecipeError, RunFailed
from rootstock.core.recipe import ClusterSettings, Recipe
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.watch import Watch
from rootstock.verbs import api, on_ray
from rootstock.verbs.far import Ear, Mouth, outcome


def test_what_is_said_far_away_is_heard_once_and_in_order(tmp_path):
    heard = []
    ear = Ear(tmp_path, Watch(say=heard.append, event=heard.append, read=heard.append))
    ear.listen()
    with Mouth(tmp_path) as mouth:
        mouth.say("one \u2028 line")
        mouth.event({"event": "step", "step": 1})
        ear.listen()
        mouth.read({"train": {"name": "rows.csv"}})
        assert not mouth.stop()
    with (tmp_path / "said.jsonl").open("a") as stream:
        stream.write('{"say": "half a')
        stream.flush()
        ear.listen()
        stream.write(' line"}\n')
    ear.listen()
    ear.listen()
    assert heard == ["one \u2028 line", {"event": "step", "step": 1}, {"train": {"name": "rows.csv"}}, "half a line"]


def test_the_wish_to_stop_is_passed_on(tmp_path):
    Ear(tmp_path, Watch()).listen()
    with Mouth(tmp_path) as mouth:
        assert not mouth.stop()
        Ear(tmp_path, Watch(stop=lambda: True)).listen()
        assert mouth.stop()


def test_what_comes_of_work_is_told_for_json():
    def fails(error):
        raise error

    assert outcome(lambda: 3) == {"done": 3}
    assert outcome(lambda: fails(DataError("odd", fix="mend it"))) == {"error": "DataError", "found": "odd", "wanted": "", "fix": "mend it"}
    assert outcome(lambda: fails(MemoryError()))["error"] == "OutOfMemory"
    with pytest.raises(ValueError, match="a bug"):
        outcome(lambda: fails(ValueError("a bug")))


def test_more_workers_than_this_machine_has_room_for_are_refused_and_would_wait_for_ever(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(RecipeError, match=r"cluster\.workers is 4, and this machine has 2 cores for Ray"):
        on_ray._check(ClusterSettings(workers=4), {"CPU": 2.0})
    with pytest.raises(RecipeError, match=r"cluster\.workers is 4, and this machine has 1 GPU for Ray"):
        on_ray._check(ClusterSettings(workers=4), {"CPU": 8.0, "GPU": 1.0})
    assert on_ray._check(ClusterSettings(workers=2), {"CPU": 2.0, "GPU": 2.0})
    assert not on_ray._check(ClusterSettings(workers=2, gpus_per_worker=0), {"CPU": 2.0, "GPU": 1.0})
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    assert not on_ray._check(ClusterSettings(workers=4), {"CPU": 2.0}), "a cluster may grow"


def test_what_a_killed_run_left_goes_and_that_of_a_run_with_a_longer_name_stays(tmp_path):
    left, others = on_ray._place(tmp_path / "a"), [on_ray._place(tmp_path / name) for name in ("a.b", "a.00000000", "b")]
    made = on_ray._place(tmp_path / "a")
    assert {path for path in tmp_path.iterdir()} == {made, *others}
    assert left != made
    assert (made / "errors").is_dir()


@pytest.mark.parametrize("goes_back", [True, False])
def test_a_worker_goes_back_only_where_who_asked_for_it_lets_it(tmp_path, monkeypatch, goes_back):
    import torch.distributed as dist

    heard = []
    monkeypatch.setattr(dist, "barrier", lambda: None)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(api, "carry_out", lambda recipe, out, watch, **how: heard.append(watch.goes_back))
    for name in ("ROOTSTOCK_WORKER_ERRORS", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(name, "0")  # so that what the worker sets is taken back
    (tmp_path / "recipe.yaml").write_text(recipe_text(Recipe.build({"data": {"train": "rows.csv"}}, "")))
    told = {"out": str(tmp_path / "run"), "overwrite": False, "resume": False, "goes_back": goes_back}
    (tmp_path / "task.json").write_text(json.dumps(told))
    on_ray._work({"place": str(tmp_path)})
    assert heard == [goes_back]


class Trainer:
    """Of Ray's what is asked of it. error: that fit() raises."""

    def __init__(self, work, error=None):
        self.work, self.error = work, error

    def fit(self):
        self.work()
        if self.error:
            raise self.error


class GivenUp(Exception):
    """As Ray Train's error, which is no RuntimeError."""


def test_workers_are_heard_while_they_work_and_asked_to_stop(tmp_path, monkeypatch):
    (tmp_path / "errors").mkdir()
    monkeypatch.setattr(on_ray, "_LOOKS_SECONDS", 0.01)
    said = []

    def work():
        with Mouth(tmp_path) as mouth:
            mouth.say("plan      18 steps")
            while not mouth.stop():
                time.sleep(0.001)
            told = {"name": "Interrupted", "found": "interrupted after step 3", "wanted": "", "fix": "go on"}
            (tmp_path / "errors" / "0.json").write_text(json.dumps(told))

    with pytest.raises(Interrupted, match="after step 3"):
        on_ray._fit(Trainer(work), tmp_path, Watch(say=said.append, stop=lambda: bool(said)))
    assert said == ["plan      18 steps"]


def test_the_last_words_are_heard_also_where_the_workers_end_between_two_looks(tmp_path, monkeypatch):
    (tmp_path / "errors").mkdir()
    monkeypatch.setattr(on_ray, "_LOOKS_SECONDS", 0.01)
    said, looked = [], Event()

    class Slow(Ear):
        def listen(self):
            super().listen()
            looked.set()
            for thread in enumerate_threads():
                if thread.name == "ray":
                    thread.join()

    def work():
        looked.wait()
        with Mouth(tmp_path) as mouth:
            mouth.say("report    written")

    monkeypatch.setattr(on_ray, "Ear", Slow)
    on_ray._fit(Trainer(work), tmp_path, Watch(say=said.append))
    assert said == ["report    written"]


def test_where_ray_gives_up_it_is_a_message(tmp_path):
    (tmp_path / "errors").mkdir()
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(RunFailed, match="Ray gave up the workers: a machine is gone") as told, on_ray._given_up(folder, (GivenUp,)):
        on_ray._fit(Trainer(lambda: None, GivenUp("Training failed:\na machine is gone")), tmp_path, Watch())
    assert "the same command" in told.value.fix
    with pytest.raises(RunFailed, match="GivenUp"), on_ray._given_up(folder, (GivenUp,)):
        raise GivenUp


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_ray_itself(tiny_base, reviews, tmp_path):
    if find_spec("ray") is None:
        pytest.skip("needs the extra cluster")
    training = {"epochs": 1, "rate": 3e-3, "batch_tokens": 160, "precision": "fp32", "dropout": 0.0}
    values = {"base": str(tiny_base), "method": {"name": "full"}, "data": {"train": str(reviews)}, "training": training}
    said, events = [], []
    cluster = {"workers": 2, "engine": "ray"}
    run = api.carry_out(Recipe.build(values | {"cluster": cluster}, ""), tmp_path / "ray", Watch(say=said.append, event=events.append))
    straight = api.carry_out(Recipe.build(values, ""), tmp_path / "straight", Watch())
    one, other = (load_file(each.folder.path / "model" / "model.safetensors") for each in (run, straight))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert any(line.startswith("plan ") for line in said)
    assert {event["event"] for event in events} == {"step", "evaluation"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".ray")) == []
