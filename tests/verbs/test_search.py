"""A search finds the better setting, stops losers, goes on where it was stopped, and says what it can't do."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import rows_of, write_csv
from typer.testing import CliRunner

from rootstock.cli.main import app
from rootstock.core.errors import ContractRefused, Interrupted, OutOfMemory, RecipeError, UsageError, WriteFailed
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.run.use import Run
from rootstock.verbs import search, search_trial

optuna = pytest.importorskip("optuna")


@pytest.fixture
def plan(tiny_base, reviews, tmp_path):
    def make(trials=4, out="search", space="1e-6,3e-3", key="training.rate", epochs=1, batch=256):
        values = {"base": str(tiny_base), "method": {"name": "full"}, "data": {"train": str(reviews)}}
        values["training"] = {"epochs": epochs, "batch_tokens": batch, "evaluations": 2}
        ranges = {key: search_trial.read_range(key, space)}
        return search_trial.Plan(recipe=Recipe.build(values, ""), space=ranges, trials=trials, out=tmp_path / out)

    return make


def rates(found):
    return sorted(row["values"]["training.rate"] for row in found["trials"])


def test_the_better_rate_wins_and_its_run_is_kept(plan, tmp_path):
    said = []
    found = search.search(plan(epochs=4, batch=96), Watch(say=said.append))
    assert found["best"]["values"] == {"training.rate": 3e-3}
    assert found["best"]["accuracy"] == 1.0
    assert Run(tmp_path / "search" / "best").recipe.training.rate == 3e-3
    assert not (tmp_path / "search" / "trials").exists()
    assert json.loads((tmp_path / "search" / "search.json").read_text()) == json.loads(json.dumps(found))
    assert len([line for line in said if line.startswith("trial ")]) == 4
    assert "flattered" in search.as_text(found)


def test_losers_are_stopped_at_an_evaluation(plan):
    found = search.search(plan(trials=8, space="1e-7,3e-3,4e-3", epochs=3, batch=64), Watch())
    pruned = [row for row in found["trials"] if row["state"] == "pruned"]
    assert pruned
    assert all(row["values"]["training.rate"] < 3e-3 for row in pruned)


def test_a_search_that_was_stopped_goes_on_to_the_same_trials(plan):
    straight = search.search(plan(out="straight", trials=3), Watch())
    said = []
    enough = Watch(say=said.append, stop=lambda: sum(line.startswith("trial ") for line in said) >= 2)
    with pytest.raises(Interrupted):
        search.search(plan(out="stopped", trials=3), enough)
    assert rates(search.search(plan(out="stopped", trials=3), Watch())) == rates(straight)


def test_trials_on_other_rows_are_not_compared(plan, reviews):
    def cut(line):
        if line.startswith("trial     2"):
            whole.append(reviews.read_bytes())
            reviews.write_bytes(b"".join(whole[0].splitlines(keepends=True)[:60]))

    whole = []
    with pytest.raises(ContractRefused, match="have changed since the search began"):
        search.search(plan(trials=3), Watch(say=cut))
    reviews.write_bytes(whole[0])
    assert [row["state"] for row in search.search(plan(trials=3), Watch())["trials"]] == ["complete"] * 3


def test_a_trial_that_would_be_stopped_is_asked_for_its_rows_as_well(plan, reviews, monkeypatch):
    def cut(line):
        if line.startswith("trial     2"):
            reviews.write_bytes(b"".join(reviews.read_bytes().splitlines(keepends=True)[:60]))

    monkeypatch.setattr(search_trial.Race, "event", lambda race, event: setattr(race, "beaten", event["event"] == "evaluation"))
    with pytest.raises(ContractRefused, match="have changed since the search began"):
        search.search(plan(trials=3), Watch(say=cut))


def test_trials_may_learn_from_several_files(plan, reviews, tmp_path):
    other = write_csv(tmp_path / "other.csv", rows_of(60, seed=5))
    held = write_csv(tmp_path / "held.csv", rows_of(40, seed=9))
    chosen = plan(trials=3, key="data.train", space=f"{reviews},{other}")
    recipe = chosen.recipe.model_copy(update={"data": chosen.recipe.data.model_copy(update={"validation": str(held)})})
    found = search.search(replace(chosen, recipe=recipe.model_copy(update={"accept": ("overlap",)})), Watch())
    assert {row["values"]["data.train"] for row in found["trials"]} == {str(reviews), str(other)}


def test_the_best_run_is_there_also_where_a_search_was_killed_before_it_was_kept(plan, tmp_path, monkeypatch):
    def killed(path, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            search.search(plan(trials=1, space="3e-3,3e-3"), Watch())
    found = search.search(plan(trials=1, space="3e-3,3e-3"), Watch())
    assert len(found["trials"]) == 1
    assert Run(found["run"]).recipe.training.rate == 3e-3
    assert not (tmp_path / "search" / "trials").exists()


def test_each_trial_has_the_whole_budget_and_one_that_does_not_fit_is_a_failed_one(plan, monkeypatch):
    watches, before = [], time.monotonic()
    carry_out = search.api.carry_out

    def first_too_large(recipe, place, watch):
        watches.append(watch)
        if len(watches) == 1:
            raise OutOfMemory("too large")
        return carry_out(recipe, place, watch)

    monkeypatch.setattr(search.api, "carry_out", first_too_large)
    found = search.search(plan(trials=2), Watch(started=before - 3600))
    assert sorted(row["state"] for row in found["trials"]) == ["complete", "fail"]
    assert all(watch.started >= before for watch in watches)
    assert watches[1].started > watches[0].started


def test_a_negative_figure_is_told_as_it_is(plan):
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    for name, value in (("figure", "spearman"), ("spearman", -0.25), ("interval", None), ("out", "here")):
        trial.set_user_attr(name, value)
    study.tell(trial, -0.25)
    assert search._told(plan(), study, optuna)["best"]["spearman"] == -0.25


def test_an_evaluation_that_has_no_figure_beats_nobody():
    race = search_trial.Race(optuna.create_study(direction="maximize").ask(), Watch())
    race.event({"event": "evaluation", "by": "spearman"})
    assert not race.stop()


def test_the_run_of_the_best_trial_may_lie_with_another_worker(plan, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    search.search(replace(plan(trials=1, out="one", space="3e-3,3e-3"), storage=url), Watch())
    found = search.search(replace(plan(trials=1, out="two", space="3e-3,3e-3"), storage=url), Watch())
    assert Path(found["run"]) == tmp_path / "one" / "best"


@pytest.mark.parametrize("storage", ["nowhere", "postgresql://x/y", "sqlite:////none/such/folder/x.db"])
def test_a_database_that_can_not_be_had_is_a_wrong_use(plan, storage):
    with pytest.raises(UsageError, match="the trials can't be kept in"):
        search.search(replace(plan(), storage=storage), Watch())


def test_a_disk_that_has_no_room_for_a_note_of_a_trial_is_told_as_such(plan, tmp_path):
    """SQLite's own errors: no page is left before the first trial; nothing may be written in the middle of the second."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    opened, ask = [], ["PRAGMA max_page_count = 3"]

    def limited(connection, _):
        opened.append(connection)
        for each in ask:
            connection.execute(each)

    def sealed(line):
        if line.startswith("trial     2"):
            ask.append("PRAGMA query_only = ON")
            for each in opened:
                each.execute(ask[-1])

    event.listen(Engine, "connect", limited)
    try:
        with pytest.raises(WriteFailed, match=r"could not write .*trials\.db: the disk is full"):
            search.search(plan(trials=3), Watch())
        ask.clear()
        with pytest.raises(WriteFailed, match=r"could not write .*trials\.db: the file system is read-only"):
            search.search(plan(trials=3), Watch(say=sealed))
    finally:
        event.remove(Engine, "connect", limited)
    assert [row["state"] for row in search.search(plan(trials=3), Watch())["trials"]] == ["complete"] * 3


def test_ranges():
    assert search_trial.read_range("method.r", "4,8") == search_trial.Range(choices=(4, 8))
    assert search_trial.read_range("x", "1e-5:1e-3") == search_trial.Range(low=1e-5, high=1e-3, log=True)
    assert search_trial.read_range("x", "0:0.3") == search_trial.Range(low=0, high=0.3)
    assert search_trial.read_range("x", "2:64") == search_trial.Range(low=2, high=64, log=True, whole=True)
    assert search_trial.read_range("x", "true,false").choices == (True, False)
    for text in ("8", "3:1", "a:b"):
        with pytest.raises(UsageError, match="--space x="):
            search_trial.read_range("x", text)


def test_what_can_not_be_searched_is_refused_before_anything_is_tried(plan, tmp_path):
    with pytest.raises(RecipeError, match="unknown key"):
        search.search(plan(key="training.rat"), Watch())
    with pytest.raises(RecipeError, match=r"training\.epochs is -1"):
        search.search(plan(key="training.epochs", space="1,-1"), Watch())
    with pytest.raises(RecipeError, match=r"unknown key 'method\.rr'"):
        search.search(plan(key="method.rr", space="1,2"), Watch())
    assert not (tmp_path / "search").exists()
    with pytest.raises(UsageError, match="nothing to search"):
        search.search(search_trial.Plan(recipe=plan().recipe, space={}, trials=1, out=tmp_path / "none"), Watch())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="other files"):
        search.check_place(tmp_path / "full")


def test_the_verb(tiny_base, reviews, tmp_path):
    line = ["search", str(reviews), "--base", str(tiny_base), "--method", "full", "--space", "training.rate=1e-6,3e-3", "--trials", "2"]
    line += ["--set", "training.epochs=2", "--out", str(tmp_path / "out")]
    made = CliRunner().invoke(app, line)
    assert made.exit_code == 0, made.output
    assert "best run" in made.stdout
    again = CliRunner().invoke(app, [*line, "--json"])
    assert len(json.loads(again.stdout)["trials"]) == 2


def test_a_trial_that_was_killed_leaves_no_gap_in_the_numbers(tmp_path):
    study = optuna.create_study(direction="maximize")
    for number, value in enumerate((0.5, None, 0.7)):
        trial = study.ask()
        trial.suggest_float("training.rate", 1e-4, 1e-3)
        if number != 1:  # the second was killed: it runs for ever
            for name, told in (("figure", "accuracy"), ("accuracy", value), ("interval", None), ("out", str(tmp_path))):
                trial.set_user_attr(name, told)
            study.tell(trial, value)
    found = search._told(None, study, optuna)
    assert [(row["trial"], row["accuracy"]) for row in found["trials"]] == [(2, 0.7), (1, 0.5)]


def test_trials_that_are_not_shown_are_counted():
    trials = [{"trial": number, "values": {}, "state": "complete", "accuracy": 0.5, "interval": None} for number in range(1, 14)]
    told = search.as_text({"trials": trials, "best": trials[0], "run": "best"})
    assert "and 3 more: search.json has all" in told
