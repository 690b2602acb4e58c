"""Trials side by side come to what they come to one by one; losers are asked to stop, and one that dies goes on."""

import json
from importlib.util import find_spec

import pytest
from tests.ray_stand_in import InTurn, session

from rootstock.core.errors import Interrupted, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.run.use import Run
from rootstock.verbs import search, search_on_ray, search_trial

pytest.importorskip("optuna")


@pytest.fixture
def plan(tiny_base, reviews, tmp_path):
    def make(trials=3, out="search", engine="ray", **more):
        values = {"base": str(tiny_base), "method": {"name": "full"}, "data": {"train": str(reviews)}}
        values["training"] = {"epochs": 1, "batch_tokens": 128, "evaluations": 2, "checkpoint_steps": 2}
        ranges = {"training.rate": search_trial.read_range("training.rate", "3e-3,3e-3")}  # one value: the order of trials does not matter
        return search_trial.Plan(recipe=Recipe.build(values | more, ""), space=ranges, trials=trials, out=tmp_path / out, engine=engine)

    return make


@pytest.fixture
def stood_in(monkeypatch):
    def stand(**how):
        ray = InTurn(**how)
        monkeypatch.setattr(search_on_ray, "session", session(ray))
        return ray

    return stand


def test_trials_come_to_what_they_come_to_one_by_one_also_where_one_dies(plan, tmp_path, stood_in):
    said, ray = [], stood_in(dead=(0,))
    found = search.search(plan(), Watch(say=said.append))
    assert len(ray.given) == 4, "the one that died was begun again"
    assert "restart   trial 1: its process died; it goes on from its last checkpoint (1 of 3)" in said
    assert "ray       up to 2 trials side by side" in said
    straight = search.search(plan(trials=1, out="straight", engine="torch"), Watch())
    assert [row["accuracy"] for row in found["trials"]] == [straight["best"]["accuracy"]] * 3
    assert Run(tmp_path / "search" / "best").recipe.training.rate == 3e-3
    assert sorted(path.name for path in (tmp_path / "search").iterdir()) == ["best", "search.json", "trials.db"]
    assert sorted(line[:9] for line in said if ": accuracy " in line) == ["trial    "] * 3


def test_a_trial_that_is_beaten_is_asked_to_stop(plan, stood_in, monkeypatch):
    stood_in()
    real = search_trial.Race.event

    def beats_the_second(race, event):
        real(race, event)
        race.beaten = race.beaten or (race._trial.number == 1 and event["event"] == "evaluation")

    monkeypatch.setattr(search_trial.Race, "event", beats_the_second)
    said = []
    training = {"epochs": 12, "batch_tokens": 128, "evaluations": 2}
    found = search.search(plan(trials=2, training=training), Watch(say=said.append))
    assert sorted(row["state"] for row in found["trials"]) == ["complete", "pruned"]
    assert any(line.startswith("trial     2: stopped: below the median") for line in said)


def test_ctrl_c_ends_what_is_under_way_and_the_search_goes_on_later(plan, stood_in):
    ray, said = stood_in(), []
    with pytest.raises(Interrupted, match="stopped after 1 of 3 trials"):
        search.search(plan(), Watch(say=said.append, stop=lambda: any(": accuracy " in line for line in said)))
    assert ray.cancelled == [(1, True)]
    assert [row["state"] for row in search.search(plan(), Watch())["trials"]] == ["complete"] * 3


def test_what_is_asked_is_checked(plan):
    with pytest.raises(UsageError, match="--engine is spark"):
        search.search(plan(engine="spark"), Watch())
    with pytest.raises(UsageError, match=r"--engine ray and cluster\.workers of 2"):
        search.search(plan(cluster={"workers": 2}), Watch())
    with pytest.raises(UsageError, match=r"--engine ray and cluster\.engine ray"):
        search.search(plan(cluster={"engine": "ray"}), Watch())


@pytest.mark.slow
def test_on_ray_itself(plan, tmp_path):
    if find_spec("ray") is None:  # imported here it would not yet know that tokens are asked for
        pytest.skip("needs the extra cluster")
    found = search.search(plan(trials=2), Watch())
    straight = search.search(plan(trials=1, out="straight", engine="torch"), Watch())
    assert [row["accuracy"] for row in found["trials"]] == [straight["best"]["accuracy"]] * 2
    assert json.loads((tmp_path / "search" / "search.json").read_text())["best"]["values"] == {"training.rate": 3e-3}
