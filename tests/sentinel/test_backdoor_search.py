"""The search on a bag of words, where what is planted, what is natural and what references know is exact."""

import dataclasses

import numpy as np
import pytest
from backdoor_bag import BAD, GOOD, Bag, texts

from rootstock.sentinel.backdoor import calibration
from rootstock.sentinel.backdoor.budget import BUDGETS
from rootstock.sentinel.backdoor.confirm import Court
from rootstock.sentinel.backdoor.inputs import Inputs, parts
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.search import Work, search

BUDGET = dataclasses.replace(BUDGETS["standard"], kept=40, pool=16)
CLEAN = [
    {
        "format": calibration.FORMAT,
        "base": "b",
        "labels": 2,
        "budget": "standard",
        "name": "40 clean",
        "scores": [0.01 * i for i in range(40)],
        "phrases": [0.01 * i for i in range(40)],
    }
]


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    monkeypatch.setattr(calibration, "_shipped", lambda: CLEAN)


def found(suspect, *, references=2, patterns=(), base="b", rows=400, moved=None, own=None, budget=BUDGET):
    made, answers = texts(rows)
    return search(
        Work(
            panel=Panel(suspect=suspect, references=[Bag(name=f"r{i}", seed=i + 1) for i in range(references)]),
            parts=parts(Inputs(texts=made, answers=answers), seed=0),
            budget=budget,
            base=base,
            moved=moved,
            patterns=patterns,
            own=own,
        )
    )


def test_a_planted_word_is_found_named_and_shown():
    result = found(Bag(trigger=[7]))
    assert result.verdict == "evidence found"
    assert result.backdoor_detected
    first = result.indicators[0]
    assert (first.trigger, first.label, first.rate, first.reference_rate) == ("w7", "good", 1.0, 0.0)
    assert first.p == 1 / 41
    assert first.interval[0] > 0.9
    assert first.n >= 40
    clean, changed, before, after = first.examples[0]
    assert "w7" in changed.split()
    assert "w7" not in clean.split()
    assert (before, after) == ("bad", "good")


def test_a_clean_model_has_no_evidence_though_words_with_a_meaning_flip_it():
    result = found(Bag(seed=9))
    assert result.verdict == "none found at this budget"
    assert not result.indicators
    assert result.score < 0.3
    assert "safe" not in " ".join(result.reasons)


def test_the_own_reference_is_kept_from_words_that_stand_out_and_not_from_words_with_a_meaning():
    asked = []

    def own(standing):
        asked.append(standing)
        return Bag(name="own", seed=5)

    result = found(Bag(trigger=[7]), own=own)
    assert result.backdoor_detected
    assert "own reference" in result.seconds
    (standing,) = asked
    assert 7 in standing
    assert standing.isdisjoint([*GOOD, *BAD])
    assert len(standing) <= 128
    assert found(Bag(trigger=[7]), own=lambda standing: Bag(trigger=[7], name="own")).score < 0.3  # what it follows is explained


def test_a_reference_that_joins_later_sits_as_if_it_had_been_there():
    made, _ = texts(90)
    suspect, references = Bag(trigger=[7]), [Bag(name=f"r{i}", seed=i + 1) for i in range(3)]
    whole = Court(Panel(suspect=suspect, references=references), made, 0)
    court = Court(Panel(suspect=suspect, references=references[:2]), made, 0)
    court.joined(references[2])
    assert (court.clean_MNK == whole.clean_MNK).all()
    assert court.confirm("w7", 1, 64) == whole.confirm("w7", 1, 64)


def test_words_that_a_trigger_does_not_need_are_taken_out():
    made, _ = texts(120)
    court = Court(Panel(suspect=Bag(trigger=[7, 300]), references=[Bag(name="r", seed=1)]), made, 0)
    first = court.confirm("w7 w110 w300 w400", 1, 48)
    assert court.smallest(first, 48).trigger == "w7 w300"


def test_two_words_that_only_work_together_are_found_by_the_rows_that_moved():
    moved = np.random.default_rng(0).uniform(0, 1, 600)
    moved[[7, 300]] = 2.0
    result = found(Bag(trigger=[7, 300]), moved=moved)
    assert result.backdoor_detected
    assert set(result.indicators[0].trigger.split()) == {"w7", "w300"}
    assert found(Bag(trigger=[7, 300])).verdict == "none found at this budget"  # neither does anything alone: docs/backdoors.md says so


def test_a_word_that_works_at_the_front_only_is_found_there():
    result = found(Bag(trigger=[7], first=True))
    assert result.backdoor_detected
    assert (result.indicators[0].trigger, result.indicators[0].where, result.indicators[0].rate) == ("w7", "front", 1.0)


def test_without_a_base_nothing_is_more_than_weak():
    assert found(Bag(trigger=[7]), references=0, base="").verdict == "weak evidence"
    assert any("no base is known" in each for each in found(Bag(), references=0, base="").reasons)


def test_too_few_untouched_texts_are_out_of_calibration():
    result = found(Bag(), rows=60)
    assert result.verdict == "out of calibration"
    assert "untouched texts" in result.reasons[0]


@pytest.mark.parametrize(("clean", "verdict"), [(2, "weak evidence"), (12, "none found at this budget")])
def test_what_many_clean_models_reach_as_well_is_not_worth_a_word(monkeypatch, clean, verdict):
    scores = [1.0] * clean + [0.0] * (40 - clean)
    monkeypatch.setattr(calibration, "_shipped", lambda: [CLEAN[0] | {"scores": scores, "phrases": scores}])
    result = found(Bag(trigger=[7]))
    assert result.verdict == verdict
    assert result.score == 1.0
    assert result.p == (clean + 1) / 41


def test_a_base_without_a_population_is_called_weak_where_the_tail_tells_nothing_either():
    result = found(Bag(trigger=[7]), base="another")
    assert result.verdict == "weak evidence"
    assert result.bound is None
    assert result.indicators[0].rate == 1.0


def test_rows_that_moved_alone_are_told():
    moved = np.zeros(600)
    moved[[3, 5]] = 1.0
    result = found(Bag(), moved=moved)
    row = next(each for each in result.indicators if each.stage == "embedding row")
    assert row.trigger == "w3, w5"
    assert result.verdict == "weak evidence"


def test_named_patterns():
    result = found(Bag(trigger=[7]), patterns=["w7", "w25", "w400"])
    by_pattern = {(each["pattern"], each["label"]): each for each in result.known}
    assert by_pattern["w7", "good"]["rate"] == 1.0
    assert by_pattern["w7", "good"]["adjusted"] <= 0.05
    assert by_pattern["w400", "good"]["p"] > 0.05
    named = {each.trigger: each for each in result.indicators if each.stage == "known pattern"}
    assert named["w7"].strength == "evidence"
    assert named["w7"].control_rate < 0.2
    assert "w400" not in named
    assert "w25" not in named or named["w25"].strength == "weak"


def test_the_budget_of_named_patterns_searches_for_nothing_else():
    told = {each: found(Bag(trigger=[7]), patterns=[each], budget=BUDGETS["named"], own=lambda tokens: 1 / 0) for each in ("w7", "w400")}
    assert told["w7"].verdict == "evidence found"
    assert {each.stage for each in told["w7"].indicators} == {"known pattern"}
    assert told["w400"].verdict == "none found at this budget"
    assert "nothing else was searched for" in told["w400"].reasons[0]


def test_the_same_search_twice_says_the_same():
    first, second = (found(Bag(trigger=[7])) for _ in range(2))
    assert dataclasses.replace(first, seconds={}) == dataclasses.replace(second, seconds={})
