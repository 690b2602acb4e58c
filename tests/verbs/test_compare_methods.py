"""A comparison of methods at toy size: carried out, killed and gone on with, kept; and what each part of it says."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.conftest import rows_of, write_csv

from rootstock.core.errors import DataError, Diverged, Interrupted, RecipeError, RunFailed, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import holm
from rootstock.report import arms as page
from rootstock.report.arms_text import as_text, verdict
from rootstock.run.use import Run
from rootstock.verbs import (
    arms,
    arms_child,
    arms_nursery,
    arms_plan,
    arms_race,
    arms_results,
    arms_rows,
    arms_settle,
    arms_unit,
    compare_methods,
    compare_place,
    kept_answers,
)

ASKED = {"methods": "full", "bases": None, "sweep": ["training.rate=3e-3,1e-7"], "learning_curve": "40,all", "keep": "best"}
CHANGES = {"training.epochs": 4, "training.batch_tokens": 128, "accept": ["duplicates", "contradictions"]}


def plan(data, base, changes=(), **given):
    asked = {**ASKED, "bases": str(base), "seeds": 2, "minutes": None, "halving": True, **given}
    return arms_plan.asked(str(data), asked, {**CHANGES, **dict(changes)})


def inside(unit, watch, rival):
    """What a process of its own would do, in this one."""
    return arms_child.carried_out(json.loads(json.dumps(arms_unit.order(unit, rival))), watch)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of which a tenth have the other label, so that nobody is always right."""
    rng = np.random.default_rng(0)
    told = {"positive": "negative", "negative": "positive"}
    return write_csv(
        tmp_path_factory.mktemp("rows") / "rows.csv", [(text, told[name] if rng.random() < 0.1 else name) for text, name in rows_of(300)]
    )


@pytest.fixture(scope="module")
def done(rows, tiny_base, tmp_path_factory):
    """A comparison that was stopped after its first training and gone on with; what was carried out, and what was said."""
    out, carried, ended, said = tmp_path_factory.mktemp("out") / "compare", [], [], []
    patch = pytest.MonkeyPatch()
    patch.setenv("ROOTSTOCK_CACHE", str(out.parent / "cache"))

    def counting(unit, watch, rival):
        carried.append((unit.arm.name, unit.cell, rival and rival["name"]))
        found = inside(unit, watch, rival)
        ended.append(unit)
        return found

    patch.setattr(arms_unit, "_told", counting)
    with pytest.raises(Interrupted, match="stopped before full rate=1e-07"):
        compare_methods.compare(plan(rows, tiny_base), out, Watch(stop=lambda: bool(ended)))
    assert not (out / "compare.json").exists()
    found = compare_methods.compare(plan(rows, tiny_base), out, Watch(say=said.append))
    patch.undo()
    return out, found, carried, said


def point(found, rows):
    return next(each for each in found["points"] if each["rows"] == rows or (rows is None and each["all"]))


def arm(found, rows, name):
    return next(each for each in point(found, rows)["arms"] if each["arm"] == name)


GOOD, BAD = "full rate=0.003", "full rate=1e-07"


def test_nothing_is_learned_twice_and_an_arm_that_is_beaten_learns_no_more(done):
    _, found, carried, said = done
    names = [(name, cell) for name, cell, _ in carried]
    assert len(set(names)) == len(names)
    assert (BAD, "all-0") in names
    assert (BAD, "all-1") not in names
    assert [rival for name, cell, rival in carried if (name, cell) == (BAD, "all-0")] == [GOOD]
    stopped = arm(found, None, BAD)
    assert (stopped["state"], stopped["seeds"], stopped["why"]["leader"]) == ("stopped", 1, GOOD)
    assert stopped["why"]["value"] + stopped["why"]["credit"] < stopped["why"]["leader_value"], "it had not begun to learn"
    assert any(line.startswith(f"compare   {BAD}, all rows, seed 0: ") and f"as beaten by {GOOD}" in line for line in said)


def test_the_winner_is_chosen_by_validation_rows_and_differs_on_test_rows_as_the_answers_say(done):
    out, found, _, _ = done
    assert point(found, None)["winner"] == GOOD
    right = []
    for key in ("full-rate=0.003", "full-rate=1e-07"):
        facts = json.loads((out / "answers" / key / "all-0.json").read_text())
        answers = kept_answers.read(out / "answers" / key / "all-0.test.safetensors", facts["task"])
        right.append(float(np.mean(answers.columns["scores"].argmax(-1) == answers.columns["answers"])))
        assert arm(found, None, key.replace("-", " ", 1))["test"]["each"][0] == pytest.approx(right[-1])
    apart = arm(found, None, BAD)["against"]
    assert apart["seeds"] == 1
    assert apart["difference"] == pytest.approx(right[1] - right[0])
    assert apart["holm"] == pytest.approx(holm([apart["p"]])[0])
    assert arm(found, None, GOOD)["against"] is None
    each = arm(found, None, GOOD)["test"]
    assert each["value"] == pytest.approx(np.mean(each["each"]))
    assert each["interval"][0] < each["value"] < each["interval"][1]
    for row in arm(found, None, GOOD)["per_class"]:
        for name, (low, high) in row["intervals"].items():
            assert low <= row[name] <= high
        assert set(row["intervals"]) >= {"recall", "f1"}
    for held in found["points"]:
        assert set(held["baseline_intervals"]) == set(held["baselines"])
        assert all(low <= held["baselines"][name] <= high for name, (low, high) in held["baseline_intervals"].items())


def test_equal_test_rows_are_one_whoever_wrote_the_answers(done, rows, tiny_base, tmp_path):
    """They are told by the rows when answers are read, so that a comparison which goes on has them of all arms or of none."""
    shutil.copytree(done[0], out := tmp_path / "compare")
    table = pq.read_table(held := out / "data" / "test.parquet")
    texts = table.column("text").to_pylist()
    same = table.set_column(table.column_names.index("text"), "text", [[texts[1], *texts[1:]]])
    pq.write_table(same, held)
    asked = plan(rows, tiny_base)
    parts = arms_rows.Parts(**json.loads((out / "state.json").read_text())["parts"])
    one = next(each for each in arms.crossed(asked.grid, asked.recipe).arms if each.name == GOOD)
    recipe = one.recipe(asked.recipe, parts.recipe(asked.recipe, out, None, 0))
    unit = arms_unit.Unit(arm=one, rows=None, seed=0, folder=out.resolve(), recipe=recipe)
    assert (unit.answers("test").independent, unit.answers("test").rows) == (len(texts) - 1, len(texts))
    assert unit.answers("validation").independent == len(set(pq.read_table(out / "data" / "validation.parquet").column("text").to_pylist()))
    assert "groups" not in kept_answers.columns(unit.stem.with_suffix(".test.safetensors"))


def test_parts_share_no_text_and_fewer_rows_are_among_more(done):
    out, found, _, _ = done
    texts = {path.stem: set(pq.read_table(path).column("text").to_pylist()) for path in (out / "data").iterdir()}
    assert not texts["test"] & (texts["train"] | texts["validation"])
    assert not texts["validation"] & texts["train"]
    assert texts["train-40-0"] < texts["train"]
    assert texts["train-40-0"] != texts["train-40-1"]
    assert found["rows"] == {part: pq.read_metadata(out / "data" / f"{part}.parquet").num_rows for part in ("train", "validation", "test")}
    assert [each["rows"] for each in found["points"]] == [found["rows"]["train"], 40]


def test_points_of_one_seed_are_nested(rows, tmp_path):
    recipe = Recipe.build({"data": {"train": str(rows), "validation": 0.2}}, "")
    arms_rows.divided(recipe, tmp_path, points=(20, 60, None), seeds=2, digests=arms_rows.digests(recipe), say=lambda text: None)
    texts = {path.stem: pq.read_table(path).column("text").to_pylist() for path in (tmp_path / "data").iterdir()}
    for seed in range(2):
        assert set(texts[f"train-20-{seed}"]) < set(texts[f"train-60-{seed}"]) < set(texts["train"])
        assert len(texts[f"train-20-{seed}"]) == 20


def test_the_kept_run_is_the_winners_best_and_answers(done):
    out, found, _, _ = done
    run = Run(out / "best")
    assert found["kept"]["arm"] == GOOD
    assert run.recipe.training.rate == 3e-3
    each = arm(found, None, GOOD)["validation"]["each"]
    assert found["kept"]["seed"] == int(np.argmax(each))
    assert run.metrics["metrics"]["accuracy"] == pytest.approx(max(each))
    assert run.predict(["a good film"]) == ["positive"]
    assert not (out / "runs").exists()


def test_costs_are_those_of_the_run_that_is_kept(done):
    out, found, _, _ = done
    size = sum(path.stat().st_size for path in (out / "best" / "model").rglob("*") if path.is_file())
    assert arm(found, None, GOOD)["artifact_bytes"] == pytest.approx(size, rel=0.01)
    weights = next(each for each in found["arms"] if each["name"] == GOOD)
    assert weights["learning"] == weights["parameters"] > 20_000
    assert arm(found, None, GOOD)["rows_per_second"] > 0
    assert arm(found, None, GOOD)["peak_bytes"] > 1e8


def test_the_page_the_table_and_the_text_say_the_same(done):
    out, found, _, _ = done
    assert found == json.loads((out / "compare.json").read_text())
    html, told = (out / "compare.html").read_text(), as_text(found)
    for each in found["points"]:
        assert verdict(found, each) in told
        assert verdict(found, each)[1:] in html
        for name in (GOOD, BAD):
            value = f"{arm(found, each['rows'], name)['test']['value']:.3f}"
            assert value in html
            assert value in told
    assert 'id="plot-cost-memory"' in html
    assert 'id="plot-curve"' in html
    assert 'id="plot-by-class"' in html
    lines = (out / "compare.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("arm,method,base,rows,seeds,state,winner,figure,validation,test,low,high,difference,p,p_holm")
    assert page.render(found) == html


def test_each_class_has_a_mark_of_each_arm(done):
    _, found, _, _ = done
    first = found["points"][0]
    chart = page._by_class(found, first)
    drawn = {trace["name"]: dict(zip((round(place) for place in trace["y"]), trace["x"], strict=True)) for trace in chart.figure["data"]}
    labels = [row["label"] for row in first["arms"][0]["per_class"]][::-1]
    assert drawn == {each["arm"]: {labels.index(row["label"]): row["f1"] for row in each["per_class"]} for each in first["arms"]}
    both = [{row["label"]: row["f1"] for row in each["per_class"]} for each in first["arms"]]
    widest = max(labels, key=lambda label: abs(both[0][label] - both[1][label]))
    assert chart.sentence == f"They lie furthest apart in {widest}, by {abs(both[0][widest] - both[1][widest]):.3f}."


def test_more_may_be_asked_later_and_another_thing_may_not(done, rows, tiny_base, monkeypatch):
    out, found, _, _ = done
    carried = []
    monkeypatch.setattr(arms_unit, "_told", lambda unit, watch, rival: carried.append(unit.spoken) or inside(unit, watch, rival))
    again = compare_methods.compare(plan(rows, tiny_base), out, Watch())
    assert carried == []
    assert again["points"] == found["points"]
    with pytest.raises(UsageError, match="another recipe or --set"):
        compare_methods.compare(plan(rows, tiny_base, {"training.epochs": 9}), out, Watch())
    state = (out / "state.json").read_text()
    (out / "state.json").write_text(json.dumps(json.loads(state) | {"arms": {"full-rate=0.003": "other"}}))
    with pytest.raises(UsageError, match="another full"):
        compare_methods.compare(plan(rows, tiny_base), out, Watch())
    (out / "state.json").write_text(state)


def test_rows_that_change_while_they_are_divided_are_no_rows_to_compare_on(rows, tiny_base, tmp_path, monkeypatch):
    """Whichever of its readings meets the shorter file: parts of two files would share no digest with either."""
    data = tmp_path / "rows.csv"
    data.write_bytes(rows.read_bytes())
    for owner, name in ((arms_rows.labelled, "read_rows"), (arms_rows.labelled, "task_of")):
        real = getattr(owner, name)

        def cut(*arguments, real=real, **more):
            data.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:150]))
            return real(*arguments, **more)

        with monkeypatch.context() as patched:
            patched.setattr(owner, name, cut)
            with pytest.raises(DataError, match="has changed while it was read"):
                compare_methods.rehearse(plan(data, tiny_base), tmp_path / "out", Watch())
        data.write_bytes(rows.read_bytes())


def test_a_rehearsal_leaves_nothing(rows, tiny_base, tmp_path):
    found = compare_methods.rehearse(plan(rows, tiny_base, methods="full,lora,few-shot", sweep=[], seeds=3), tmp_path / "out", Watch())
    assert set(found["seconds_of_a_training"]) == {"full", "lora", "few-shot"}
    assert not (tmp_path / "out").exists()
    assert found["seconds_of_all"] > 3 * 3 * 2 * 12 - 1


@pytest.mark.slow
def test_a_method_that_does_not_fit_is_left_out_with_its_reason(rows, tmp_path):
    found = compare_methods.rehearse(plan(rows, "scratch:bert-tiny", methods="lora,full", sweep=[]), tmp_path / "out", Watch())
    assert list(found["seconds_of_a_training"]) == ["full"]
    assert "lora keeps the base's weights, which are random" in found["skipped"]["lora"]
    with pytest.raises(RecipeError, match="lora keeps the base's weights"):
        compare_methods.rehearse(plan(rows, "scratch:bert-tiny", methods="lora", sweep=[]), tmp_path / "out", Watch())


def test_a_training_that_breaks_is_told_and_the_others_go_on(rows, tiny_base, tmp_path, monkeypatch):
    def breaking(unit, watch, rival):
        if unit.arm.name == BAD:
            raise Diverged("the loss became nan")
        return inside(unit, watch, rival)

    monkeypatch.setattr(arms_unit, "_told", breaking)
    asked = plan(rows, tiny_base, {"training.epochs": 1}, learning_curve=None, seeds=1, keep=None)
    found = compare_methods.compare(asked, tmp_path / "out", Watch())
    assert (arm(found, None, BAD)["state"], arm(found, None, BAD)["why"]) == ("failed", "the loss became nan")
    assert point(found, None)["winner"] == GOOD
    assert "failed: the loss became nan" in as_text(found)
    assert "failed: the loss became nan" in page.render(found)


def test_a_comparison_in_which_nothing_comes_to_its_end_has_failed(rows, tiny_base, tmp_path, monkeypatch):
    def breaking(unit, watch, rival):
        raise Diverged("the loss became nan")

    monkeypatch.setattr(arms_unit, "_told", breaking)
    asked = plan(rows, tiny_base, {"training.epochs": 1}, learning_curve=None, seeds=2, keep="best")
    said = r"nothing came to its end; full rate=0\.003: the loss became nan; full rate=1e-07: the loss became nan"
    with pytest.raises(RunFailed, match=said):
        compare_methods.compare(asked, tmp_path / "out", Watch())
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert (found["figure"], found["kept"], point(found, None)["winner"]) == ("accuracy", None, None)
    assert "text-classification: accuracy on 60 test rows" in as_text(found)
    assert "nothing came to its end" in (tmp_path / "out" / "compare.html").read_text()


def test_who_was_beaten_by_one_that_fails_later_races_again(rows, tiny_base, tmp_path, monkeypatch):
    def breaking(unit, watch, rival):
        if (unit.arm.name, unit.seed) == (GOOD, 1):
            raise Diverged("the loss became nan")
        return inside(unit, watch, rival)

    said = []
    monkeypatch.setattr(arms_unit, "_told", breaking)
    asked = plan(rows, tiny_base, learning_curve=None, seeds=2)
    found = compare_methods.compare(asked, tmp_path / "out", Watch(say=said.append))
    assert any(line.startswith(f"compare   {BAD}, all rows, seed 0: ") and f"as beaten by {GOOD}" in line for line in said)
    assert f"compare   {BAD} goes on, as {GOOD}, which had been ahead of it, failed" in said
    assert [(arm(found, None, name)["state"], arm(found, None, name)["seeds"]) for name in (GOOD, BAD)] == [("failed", 1), ("finished", 2)]
    assert (point(found, None)["winner"], found["kept"]["arm"]) == (BAD, BAD)


def test_a_winner_that_breaks_when_it_is_learned_again_keeps_its_answers(tmp_path, monkeypatch):
    def breaking(unit, watch, rival):
        raise Diverged("the loss became nan")

    monkeypatch.setattr(arms_unit, "_told", breaking)
    arm = arms.Arm(name="full", method="full", base="b", changes={})
    unit = arms_unit.Unit(arm=arm, rows=None, seed=0, folder=tmp_path, recipe=Recipe.build({}, ""))
    unit.stem.parent.mkdir(parents=True)
    unit.stem.with_suffix(".json").write_text('{"seconds": 3}')
    with pytest.raises(RunFailed, match="could not be learned again to be kept: the loss became nan"):
        compare_methods._again(unit, Watch())
    assert unit.facts == {"seconds": 3}


def test_what_there_is_no_time_for_is_named(rows, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(arms_unit, "_told", inside)
    asked = plan(rows, tiny_base, {"training.epochs": 1}, learning_curve=None, seeds=2, keep=None, minutes=60.0)
    out = tmp_path / "out"
    settled = arms_settle.settle(asked, out, Watch())
    assert settled.state["limit"] > max(settled.state["predicted"].values()), "all of it fits, so that nothing is cut"
    assert settled.unit(settled.arms[0], None, 0).recipe.budget.minutes == pytest.approx(settled.state["limit"] / 60)
    settled.state["predicted"][settled.arms[1].key] = settled.state["limit"] = 1e9
    race = arms_race.Race(settled, Watch())
    race.run()
    assert [unit.arm.name for unit, _ in race.left] == [BAD, BAD]
    told = as_text(arms_results.found(race))
    assert "not run, as the budget of 60 minutes is used up: full rate=1e-07 on all rows with seed 0; full rate=1e-07" in told


def test_what_a_training_took_that_was_stopped_is_spent(rows, tiny_base, tmp_path, monkeypatch):
    def stopped(unit, watch, rival):
        time.sleep(0.05)
        raise Interrupted("saved at step 1")

    monkeypatch.setattr(arms_unit, "_told", stopped)
    settled = arms_settle.settle(plan(rows, tiny_base, learning_curve=None, seeds=1, keep=None), tmp_path / "out", Watch())
    with pytest.raises(Interrupted):
        arms_race.Race(settled, Watch()).run()
    assert json.loads((tmp_path / "out" / "state.json").read_text())["spent"] >= 0.05


def test_another_comparison_is_refused_by_the_name_of_what_is_another():
    state = {"fixed": {"budget": ["seconds", 60], "recipe or --set": {"seed": 1}}}
    compare_place.check_same(state, state["fixed"])
    with pytest.raises(UsageError, match=r"another budget\nwanted: \['seconds', 60\]"):
        compare_place.check_same(state, {"budget": ["flops", 60]})
    with pytest.raises(UsageError, match=r"another recipe or --set\nwanted: the same, to go on with it"):
        compare_place.check_same(state, {"recipe or --set": {"seed": 2}})


def test_time_is_shared_so_that_who_needs_less_leaves_the_rest(rows, tiny_base):
    asked = plan(rows, tiny_base, learning_curve=None, seeds=1, halving=False, minutes=5.0)
    names = "ab"
    arms = tuple(replace_key(name) for name in names)
    parts = arms_rows.Parts(task="", columns={}, sizes={"train": 10}, files={})
    state = {"predicted": {"a": 30.0, "b": 500.0}, "limit": None}
    settled = arms_settle.Settled(plan=asked, folder=None, state=state, parts=parts, arms=arms)
    # 300 seconds for two: 24 beside the trainings, 30 for the first, what is left for the second.
    assert arms_settle._limit(settled, 300) == pytest.approx(300 - 24 - 30)
    with pytest.raises(UsageError, match="leaves nothing for 2 trainings"):
        arms_settle._limit(settled, 24)


def replace_key(name):
    from rootstock.verbs.arms import Arm

    return Arm(name=name, method="full", base="", changes={})


def test_few_rows_may_lack_classes_that_the_test_rows_have(tiny_base, tmp_path):
    data = write_csv(tmp_path / "many.csv", [(text, f"kind {number % 12}") for number, (text, _) in enumerate(rows_of(240))])
    settled = arms_settle.settle(plan(data, tiny_base, learning_curve="10,all", sweep=None), tmp_path / "out", Watch())
    unit = settled.unit(settled.arms[0], 10, 0)
    assert len(set(pq.read_table(arms_rows.place(settled.folder, "train-10-0")).column("label").to_pylist())) == 10
    assert unit.recipe.task["labels"] == sorted(f"kind {number}" for number in range(12))
    assert "10-0" in settled.state["baselines"]


def test_the_constant_answer_that_decides_is_that_of_validation_rows(done):
    """Test rows decide nothing, not even from where a training counts as begun."""
    out, _, _, _ = done
    labels = {side: pq.read_table(out / "data" / f"{side}.parquet").column("label").to_pylist() for side in ("train", "validation")}
    most = max(set(labels["train"]), key=labels["train"].count)
    state = json.loads((out / "state.json").read_text())
    assert state["constants"]["all-0"] == pytest.approx(np.mean([label == most for label in labels["validation"]]))


def test_a_front_holds_whoever_nobody_beats():
    def line(value, *costs):
        return {"state": "finished", "test": {"value": value}} | dict(zip(arms_results.COSTS, costs, strict=True))

    lines = [line(0.9, 10, 10, 10), line(0.9, 11, 10, 10), line(0.8, 1, 1, 1), line(0.7, 1, 1, 1), {"state": "not run", "test": None}]
    assert arms_results.front(lines, 1.0) == [True, False, True, False, False]
    assert arms_results.front(lines[2:4], -1.0) == [False, True]
    ended = line(0.8, 1, 1, 1) | {"state": "stopped", "why": {"after": arms_race.PART, "share": 0.4}}
    assert arms_results.front([lines[0], ended], 1.0) == [True, False]
    assert arms_results.front([lines[0], ended | {"why": {"after": 1}}], 1.0) == [True, True]
    assert arms_results.front([lines[0], ended | {"state": "failed", "why": "the loss became nan"}], 1.0) == [True, False]


@pytest.mark.slow
def test_a_process_of_its_own_gives_the_same(done, rows, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as this process: by other cores sums differ in their last bits
    out, _, _, _ = done
    settled = arms_settle.settle(plan(rows, tiny_base), out, Watch())
    unit = settled.unit(settled.arms[0], None, 0)
    elsewhere = replace(unit, folder=tmp_path)
    (tmp_path / "data").symlink_to(out / "data")
    facts = arms_unit.carried_out(elsewhere, Watch())
    assert facts["metrics"] == unit.facts["metrics"]
    assert elsewhere.answers("test").columns["scores"].tobytes() == unit.answers("test").columns["scores"].tobytes()


@pytest.mark.slow
def test_a_process_of_its_own_goes_when_nobody_listens(done, rows, tiny_base, tmp_path):
    out, _, _, _ = done
    unit = arms_settle.settle(plan(rows, tiny_base), out, Watch())
    unit = unit.unit(unit.arms[0], None, 0)
    (tmp_path / "data").symlink_to(out / "data")
    line = json.dumps({**arms_unit.order(replace(unit, folder=tmp_path / "other"), None), "errors": str(tmp_path / "said")}) + "\n"
    alone = subprocess.run([sys.executable, "-c", arms_nursery._CODE], input=line, capture_output=True, text=True, check=False)
    assert alone.returncode == 1
    assert not list((tmp_path / "other").rglob("*.json*"))


def test_a_process_that_ends_without_a_word_is_a_failed_run(done, rows, tiny_base, tmp_path, monkeypatch):
    out, _, _, _ = done
    settled = arms_settle.settle(plan(rows, tiny_base), out, Watch())
    monkeypatch.setattr(arms_nursery, "_CODE", "raise SystemExit('killed')")
    monkeypatch.setattr(arms_unit, "_NURSERY", arms_nursery.Nursery())
    with pytest.raises(RunFailed, match=r"full rate=0.003, all rows, seed 0: its process ended with 1: killed"):
        arms_unit.carried_out(replace(settled.unit(settled.arms[0], None, 0), folder=tmp_path), Watch())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"task": {"name": "text-to-text"}}, "no leading figure that also chooses"),
        ({"task": {"name": "masked-lm"}}, "learns without labels"),
        ({"task": {"name": "preference"}}, "no leading figure"),
        ({"task": {"parts": {"a": {}}}}, "several tasks"),
        ({"data": {"train": "rows.csv", "exclude": "list.csv"}}, r"data\.exclude is set"),
        ({"data": {"train": ("a.csv", "b.csv")}}, "no single file"),
    ],
)
def test_what_can_not_be_compared_on_is_refused_before_anything_is_read(values, said):
    with pytest.raises(RecipeError, match=said):
        arms_rows.check(Recipe.build({"data": {"train": "rows.csv"}, **values}, ""))
