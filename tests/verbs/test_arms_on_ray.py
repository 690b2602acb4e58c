"""A comparison on Ray comes to the figures of one without it. A stand-in ends tasks in another order; one test asks Ray itself."""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from tests.conftest import rows_of, write_csv
from tests.ray_stand_in import StandIn, session

from rootstock.core import aside
from rootstock.core.errors import Diverged, Interrupted, RunFailed, UsageError
from rootstock.core.watch import Watch
from rootstock.verbs import arms_child, arms_on_ray, arms_plan, arms_unit, compare_methods

CHANGES = {"training.epochs": 1, "training.batch_tokens": 64, "accept": ["duplicates", "contradictions"]}
ASKED = {"methods": "full", "sweep": ["training.rate=3e-3,1e-3"], "learning_curve": None, "keep": None, "seeds": 1, "minutes": None}


def plan(data, base, **given):
    return arms_plan.asked(str(data), {**ASKED, "bases": str(base), "halving": False, "freeze": None, **given}, CHANGES)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("rows") / "rows.csv", rows_of(120))


@pytest.fixture
def stood_in(monkeypatch):
    def stand(ray):
        monkeypatch.setattr(arms_on_ray, "session", session(ray))
        return ray

    return stand


def figures(found):
    kept = ("arm", "state", "seeds", "validation", "test", "steps", "per_class")
    return [[each[key] for key in kept] for point in found["points"] for each in point["arms"]]


def test_it_comes_to_the_same_figures_and_goes_on_where_it_was_stopped(rows, tiny_base, tmp_path, stood_in, monkeypatch):
    said, ray, ended = [], stood_in(StandIn()), []
    real = arms_unit.kept

    def counted(unit, told):
        ended.append(unit.arm.name)
        return real(unit, told)

    monkeypatch.setattr(arms_unit, "kept", counted)
    out = tmp_path / "ray"
    with pytest.raises(Interrupted, match="1 of 2 trainings left"):
        compare_methods.compare(plan(rows, tiny_base, engine="ray"), out, Watch(stop=lambda: bool(ended)))
    assert ray.cancelled == [(0, True)]
    left = []

    def say(line):
        said.append(line)
        left.append(len(list((out / "runs").glob("*/*"))))

    found = compare_methods.compare(plan(rows, tiny_base, engine="ray"), out, Watch(say=say))
    assert [count for line, count in zip(said, left, strict=True) if ", seed 0: " in line] == [1, 0], "none that is not kept stays"
    assert ended == ["full rate=0.001", "full rate=0.003"], "each once"
    assert any(line.startswith("ray       1 training,") for line in said)
    assert not (out / "runs").exists()

    def inside(unit, watch, rival):
        return arms_child.carried_out(json.loads(json.dumps(arms_unit.order(unit, rival))), watch)

    monkeypatch.setattr(arms_unit, "_told", inside)
    straight = compare_methods.compare(plan(rows, tiny_base), tmp_path / "straight", Watch())
    assert figures(found) == figures(straight)


def test_what_a_task_says_is_what_is_met_here(stood_in, tmp_path, monkeypatch):
    unit = SimpleNamespace(stem=tmp_path / "answers" / "all-0", spoken="full, all rows, seed 0", facts=None)
    unit.stem.parent.mkdir()
    monkeypatch.setattr(arms_unit, "order", lambda unit, rival: {})

    def says(error):
        def carried_out(order, watch):
            raise error

        monkeypatch.setattr(arms_child, "carried_out", carried_out)

    stood_in(StandIn())
    says(Diverged("the loss became nan"))
    arms_on_ray.ahead([unit], Watch())
    assert json.loads(unit.stem.with_suffix(".json").read_text()) == {"failed": "the loss became nan"}
    says(UsageError("a wrong column", fix="name another"))
    with pytest.raises(UsageError, match="full, all rows, seed 0: a wrong column"):
        arms_on_ray.ahead([unit], Watch())
    stood_in(StandIn(broken=(0,)))
    with pytest.raises(RunFailed, match="full, all rows, seed 0: Ray lost it: the machine is gone"):
        arms_on_ray.ahead([unit], Watch())


@pytest.mark.parametrize(("dead", "comes"), [((0,), True), ((0, 1, 2), True), ((0, 1, 2, 3), False)])
def test_one_whose_process_dies_is_begun_again_three_times(stood_in, tmp_path, monkeypatch, dead, comes):
    unit = SimpleNamespace(stem=tmp_path / "answers" / "all-0", spoken="full, all rows, seed 0", facts=None, folder=tmp_path)
    monkeypatch.setattr(arms_unit, "order", lambda unit, rival: {"of": "full"})
    monkeypatch.setattr(arms_child, "carried_out", lambda order, watch: {"steps": 3, **order})
    ray, said = stood_in(StandIn(dead=dead)), []
    if comes:
        arms_on_ray.ahead([unit], Watch(say=said.append))
    else:
        with pytest.raises(RunFailed, match="Ray lost it: The worker died unexpectedly"):
            arms_on_ray.ahead([unit], Watch(say=said.append))
    restarts = [line for line in said if line.startswith("restart   full, all rows, seed 0: its process died")]
    assert len(restarts) == min(len(dead), 3)
    assert restarts[-1].endswith(f"({len(restarts)} of 3)")
    assert {order for _, _, order in ray.given} == {'{"of": "full"}'}


def test_minutes_are_no_measure_of_what_runs_side_by_side(rows, tiny_base):
    with pytest.raises(UsageError, match="--minutes and --engine ray"):
        plan(rows, tiny_base, engine="ray", minutes=5.0)
    with pytest.raises(UsageError, match=r"--engine ray and cluster\.engine ray"):
        arms_plan.asked(
            str(rows),
            {**ASKED, "bases": str(tiny_base), "halving": False, "freeze": None, "engine": "ray"},
            CHANGES | {"cluster.engine": "ray"},
        )
    with pytest.raises(UsageError, match="--engine is spark"):
        plan(rows, tiny_base, engine="spark")


@pytest.mark.slow
def test_on_ray_itself(rows, tiny_base, tmp_path):
    if find_spec("ray") is None:  # imported here it would not yet know that tokens are asked for
        pytest.skip("needs the extra cluster")
    found = compare_methods.compare(plan(rows, tiny_base, engine="ray"), tmp_path / "ray", Watch())
    straight = compare_methods.compare(plan(rows, tiny_base), tmp_path / "straight", Watch())
    assert figures(found) == figures(straight)


@pytest.mark.parametrize("told", [{"done": {}}, {"error": "OutOfMemory", "found": "no memory left", "wanted": "", "fix": ""}])
def test_what_a_comparison_replaces_goes_once_a_training_has_ended_well(stood_in, tmp_path, monkeypatch, told):
    stood_in(StandIn())
    out = tmp_path / "out"
    out.mkdir()
    (out / "compare.json").write_text("old")
    aside.put(out)
    monkeypatch.setattr(arms_unit, "order", lambda unit, rival: {})
    monkeypatch.setattr(arms_on_ray, "work", lambda order: json.dumps(told))
    units = [SimpleNamespace(folder=out, spoken=name, stem=tmp_path / name) for name in ("full", "lora")]
    with pytest.raises(Interrupted):
        arms_on_ray.ahead(units, Watch(stop=lambda: True))
    assert aside.waits(out) == ("error" in told)
