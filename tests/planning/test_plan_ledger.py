"""The ledger of plans: lines that are kept whole, errors in closed form, and what a real run leaves in it."""

import json
import math
import multiprocessing
from contextlib import suppress

import pytest
from tests.conftest import ONCE

from rootstock.core.errors import Interrupted
from rootstock.planning import ledger
from rootstock.report.plan_text import ledger_text
from rootstock.verbs.plan import Asked, errors_so_far, plan


def entry(planned, measured, **more):
    sides = {"planned": {"bytes": planned, "seconds": planned}, "measured": {"bytes": measured, "seconds": measured}}
    return {"base": "minilm", "method": "lora", "task": "regression", "device": {"cores": 2}, "left_out": {}, **sides, **more}


def kept(path, *entries):
    for each in entries:
        ledger.append(path, each)
    return ledger.read(path)


def test_the_error_is_planned_over_measured_less_one(tmp_path):
    found = ledger.error(kept(tmp_path / "l", entry(90, 100), entry(130, 100), entry(100, 100)).entries, "bytes")
    assert (found.count, found.median, found.worst) == (3, 0.0, pytest.approx(0.3))
    assert found.low is found.high is found.level is None


@pytest.mark.parametrize(("count", "rank", "level"), [(5, 0, 1 - 2 / 32), (8, 0, 1 - 2 / 256), (9, 1, 1 - 20 / 512), (20, 5, 0.9586105)])
def test_the_interval_of_a_median_is_that_of_fair_coins(tmp_path, count, rank, level):
    errors = [entry(100 + step, 100) for step in range(count)]
    found = ledger.error(errors, "seconds")
    assert (found.low, found.high) == (pytest.approx(rank / 100), pytest.approx((count - 1 - rank) / 100))
    assert found.level == pytest.approx(level, abs=1e-6)
    assert level == pytest.approx(1 - 2 * sum(math.comb(count, k) for k in range(rank + 1)) / 2**count, abs=1e-6)


def test_broken_lines_are_skipped_and_counted(tmp_path):
    path = tmp_path / "plans.jsonl"
    kept(path, entry(90, 100))
    negative, textual, listed = (json.dumps({"format": 1, **entry(1, value)}) for value in (-1, "much", [1]))
    with path.open("a") as stream:
        stream.write(
            "\n".join(["{torn", "7", json.dumps({"format": 99, **entry(1, 1)}), negative, textual, listed, '{"format": 1}', "{half"])
        )
    found = kept(path, entry(110, 100))  # the line that a killed process left open stays by itself
    assert ([each["planned"]["bytes"] for each in found.entries], found.broken) == ([90, 110], 8)
    assert ledger.read(tmp_path / "none") == ([], 0)


def test_it_does_not_grow_without_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "MOST", 8)
    found = kept(tmp_path / "l", *(entry(number, 1) for number in range(1, 12)))
    assert [each["planned"]["bytes"] for each in found.entries] == [5, 6, 7, 8, 9, 10, 11]  # twice the oldest two of eight went
    assert len(kept(tmp_path / "l", entry(12, 1)).entries) == 8


def write_some(path, start):
    for number in range(start, start + 40):
        ledger.append(path, entry(number, 1))


def test_two_processes_lose_no_line(tmp_path):
    path = tmp_path / "plans.jsonl"
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=write_some, args=(path, start)) for start in (1, 41)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    found = ledger.read(path)
    assert (sorted(each["planned"]["bytes"] for each in found.entries), found.broken) == (list(range(1, 81)), 0)


def test_it_can_be_moved_and_turned_off(monkeypatch, tmp_path):
    monkeypatch.delenv(ledger.VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert ledger.place() == tmp_path / "rootstock" / "plans.jsonl"
    assert ledger.place(str(tmp_path / "mine")) == tmp_path / "mine"
    assert ledger.place("off") is None
    monkeypatch.setenv(ledger.VARIABLE, str(tmp_path / "theirs"))
    assert (ledger.place(), ledger.place("off")) == (tmp_path / "theirs", None)
    monkeypatch.setenv(ledger.VARIABLE, "off")
    assert ledger.place(str(tmp_path / "mine")) is None
    assert "off" in ledger_text(errors_so_far())


def test_what_is_left_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv(ledger.VARIABLE, str(tmp_path / "l"))
    assert "no runs" in ledger_text(errors_so_far())
    kept(tmp_path / "l", *(entry(100 + each, 100) for each in range(5)), entry(500, 100, left_out={"seconds": "resumed"}))
    found = errors_so_far()
    assert found["errors"][0]["time"]["count"] == 5
    assert found["errors"][0]["memory"]["worst"] == 4
    assert found["errors"][0]["left_out"] == {"time": {"resumed": 1}}
    text = ledger_text(found)
    assert "left out  time of minilm × lora: 1 resumed" in text
    assert "+2% [+0%, +4%] 94%" in text


def test_a_run_leaves_its_pair_and_a_plan_shows_it(adapt, tiny_base, monkeypatch):
    monkeypatch.setattr("rootstock.run.paired._CARRIED", iter([0, 1, 2]))
    run = adapt(training=ONCE)
    (first,) = ledger.read(ledger.place()).entries
    told = run.folder.json("plan.json")
    assert (first["base"], first["method"], first["task"]) == (str(tiny_base), "full", "text-classification")
    assert first["planned"] == {"bytes": told["predicted"]["peak_bytes"], "seconds": told["predicted"]["seconds"]}
    assert first["measured"]["seconds"] == told["measured"]["seconds"]
    assert first["measured"]["bytes"] >= told["measured"]["peak_bytes"]
    assert first["work"]["tokens"] == told["measured"]["tokens"]
    assert first["left_out"] == {}
    adapt("second", training={"epochs": 1})
    adapt("third", budget={"ledger": "off"}, training={"epochs": 1})
    assert [each["left_out"] for each in ledger.read(ledger.place()).entries] == [{}, {"bytes": "not the first run of its process"}]
    shown = plan(Asked(base=str(tiny_base), methods=("full",), length=8, rows=20))["here_before"]["full"]
    assert shown["runs"] == 1
    assert shown["bytes"] == [first["measured"]["bytes"]] * 2


def test_interrupted_and_resumed_runs_give_no_pair(adapt, tmp_path, reviews, tiny_base):
    from rootstock.core.recipe import Recipe
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    training = {"epochs": 2, "rate": 3e-3, "batch_tokens": 64}
    recipe = Recipe.build({"base": str(tiny_base), "data": {"train": str(reviews)}, "method": {"name": "full"}, "training": training}, "")
    with suppress(Interrupted):
        api.carry_out(recipe, tmp_path / "run", Watch(stop=lambda: True))
    api.carry_out(recipe, tmp_path / "run", Watch(), resume=True)
    reasons = [each["left_out"]["seconds"] for each in ledger.read(ledger.place()).entries]
    assert reasons == ["interrupted", "resumed"]


def test_features_from_the_cache_give_no_pair(adapt):
    for name in ("first", "again"):
        adapt(name, method="feature-extraction")
    assert [each["left_out"].get("seconds") for each in ledger.read(ledger.place()).entries] == [None, "features from the cache"]


def test_a_ledger_that_cannot_be_written_is_no_reason_to_fail(adapt, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(ledger.VARIABLE, str(tmp_path / "file" / "plans.jsonl"))
    with caplog.at_level("INFO", "rootstock"):
        assert adapt(training={"epochs": 1}).metrics
    assert "could not be written" in caplog.text
