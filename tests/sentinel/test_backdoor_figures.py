"""Intervals, corrections and tails against closed forms, scipy and simulation; controls and places."""

import numpy as np
import pytest
from backdoor_bag import SIZE, Bag, texts
from scipy.stats import binomtest, kstest

from rootstock.sentinel.backdoor import calibration, exact, known
from rootstock.sentinel.backdoor.edits import EDITS, boundaries, put_in, shortened
from rootstock.sentinel.backdoor.inputs import Inputs, parts
from rootstock.sentinel.backdoor.panel import Panel, certainty, excess
from rootstock.sentinel.backdoor.subject import Vocabulary, margins


@pytest.mark.parametrize(("hits", "n"), [(0, 40), (3, 40), (40, 40)])
def test_intervals_are_clopper_and_pearsons(hits, n):
    assert exact.interval(hits, n) == pytest.approx(tuple(binomtest(hits, n).proportion_ci(0.95, "exact")), abs=1e-9)


def test_holm():
    assert exact.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_no_alarm_in_n_models_bounds_the_rate_at_three_over_n():
    assert exact.bound(100) == pytest.approx(0.03, abs=0.001)
    assert exact.bound(0) == 1.0


def test_the_tail_is_that_of_what_was_drawn():
    seen = np.random.default_rng(0).exponential(size=30_000)
    assert exact.tail(16.0, seen) == pytest.approx(30_000 * np.exp(-16), rel=1.5)
    assert exact.tail(float(np.quantile(seen, 0.999)), seen) == 1.0
    planted = np.append(seen, [50.0, 60.0])
    assert exact.tail(60.0, planted) < 1e-6


def test_margins_lead_over_the_best_other():
    scores = np.array([[2.0, 5.0, 1.0]])
    assert margins(scores, several=False).tolist() == [[-3.0, 3.0, -4.0]]
    assert margins(scores, several=True) is scores


def test_excess_is_beyond_the_best_reference():
    assert excess(np.array([[0.9, 0.5], [0.1, 0.6], [0.3, 0.2]])).tolist() == pytest.approx([0.6, -0.1])
    assert excess(np.array([[0.9]])).tolist() == [0.9]
    assert certainty(np.array([0.0]))[0] == 0.5


def test_words_are_never_cut():
    vocabulary = Vocabulary(words=["in", "##side", "out"], usable=np.ones(3, bool), begins=np.array([True, False, True]))
    assert boundaries((0, 1, 2), vocabulary) == [0, 2, 3]
    assert shortened((2, 0, 1), vocabulary, 2) == (2,)
    assert put_in((0, 1), (2,), 2) == (0, 1, 2)


def test_parts_share_no_text_and_a_repeated_text_counts_once():
    made, answers = texts(100)
    found = parts(Inputs(texts=[*made, *made], answers=[*answers, *answers]), seed=0)
    sides = [set(found.learn.texts), set(found.search.texts), set(found.confirm.texts)]
    assert [len(each) for each in sides] == [62, 10, 28]
    assert not set.intersection(*sides[:2])
    assert not sides[2] & (sides[0] | sides[1])


def test_edits_change_the_first_of_two_texts_and_keep_its_words():
    for edit in EDITS:
        changed = edit.of(("alpha has gamma", "other"))
        assert changed[1] == "other"
        assert changed[0] != "alpha has gamma"
        assert {"alpha", "gamma"} <= set(changed[0].split()), edit.name


def test_controls_are_of_the_same_kind_and_share_no_piece():
    words = Vocabulary(
        words=[*(f"##s{i}" for i in range(100)), *("word" for _ in range(100))], usable=np.ones(200, bool), begins=np.arange(200) >= 100
    )
    near = known.neighbours(150, (150, 151), words)
    assert (near >= 100).all()
    assert not {150, 151} & set(near.tolist())


def test_p_values_of_named_words_are_uniform_on_a_clean_model():
    made, _ = texts(40)
    bench = known.Bench(Bag(seed=3), made, 0)
    found = [known._one(bench, f"w{i}", [1], 0.0)[0].p for i in range(100, SIZE - 40, 16)]
    assert kstest(found, "uniform").pvalue > 0.05


def test_more_controls_are_drawn_where_tests_are_many_and_none_beats_it():
    made, _ = texts(96)
    panel = Panel(suspect=Bag(trigger=[7]))
    found = known.known(panel, ["w7", *(f"w{i}" for i in range(200, 205))], made, alpha=0.02, seed=0)
    first = next(each for each in found if (each.pattern, each.label) == ("w7", 1))
    assert first.controls == 600
    assert first.adjusted <= 0.02
    assert {each.controls for each in found if each.pattern != "w7"} <= {known.CONTROLS, 600}


def test_a_population_serves_its_own_setting_only():
    held = [{"format": calibration.FORMAT, "base": "b", "labels": 2, "budget": "fast", "name": "n", "scores": [0.1] * 59}]
    found = calibration.population(calibration.Setting(base="b", labels=2, budget="fast"), held)
    assert found is not None
    assert found.p(0.5) == 1 / 60
    assert found.p(0.1) == 1.0
    assert found.bound(0.5) == pytest.approx(0.05, abs=0.001)
    for other in (("c", 2, "fast"), ("b", 3, "fast"), ("b", 2, "deep")):
        assert calibration.population(calibration.Setting(base=other[0], labels=other[1], budget=other[2]), held) is None
