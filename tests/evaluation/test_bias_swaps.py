"""Gaps between groups against closed forms, and against a classifier whose bias is planted."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from rootstock.evaluation.bias.cases import Asked, of_rows, of_templates
from rootstock.evaluation.bias.swaps import Answers, measure
from rootstock.evaluation.bias.terms import load
from rootstock.evaluation.intervals import wilson

ROWS = [(f"he wrote part {i} of it",) for i in range(60)] + [("he met her",), ("she is pregnant",)]


def answered(shift, labels=("no", "yes"), noise=0.02, rows=ROWS, lists=("gender",)):
    """What a model says that gives texts with a female word so much more of the last label."""
    asked, held = Asked(), []
    for attribute in load(lists):
        held += [of_rows(attribute, rows, asked, 0), of_templates(attribute, asked)]
    drawn = np.random.default_rng(3).normal(0, noise, len(asked.texts))
    women = ("she", "woman", "sister", "girl", "mother", "lady", "daughter", "aunt", "wife")
    p = np.array([0.4 + drawn[i] + shift * any(word in text[0].lower() for word in women) for i, text in enumerate(asked.texts)])
    return held, Answers(np.stack([1 - p, p], 1), labels, False), asked.texts


def test_a_planted_gap_is_shown_with_its_size():
    held, answers, texts = answered(0.2)
    for table in measure(held, answers, texts, floor=0.05, seed=0):
        (pair,) = table["pairs"]
        (gap,) = pair["gaps"]
        assert (pair["first"], pair["second"], gap["label"], gap["verdict"]) == ("female", "male", "yes", "shown")
        low, high = gap["interval"]
        assert low < 0.2 < high < 0.25
        assert pair["flips"]["value"] == 1.0
        assert pair["examples"][0]["label"] == "yes"


def test_no_gap_is_small_and_little_text_is_open():
    held, answers, texts = answered(0.0)
    assert [pair["gaps"][0]["verdict"] for table in measure(held, answers, texts, floor=0.05, seed=0) for pair in table["pairs"]] == [
        "small"
    ] * 2
    held, answers, texts = answered(0.3, rows=ROWS[:10])
    rows = measure(held, answers, texts, floor=0.05, seed=0)[0]
    assert rows["pairs"][0]["gaps"][0]["verdict"] == "open"


def test_the_test_is_students_paired_one_and_the_figures_are_what_they_say():
    held, answers, texts = answered(0.03)
    table = measure(held[:1], answers, texts, floor=0.05, seed=0)[0]
    p_Q = answers.probabilities[:, 1]
    difference = np.array([p_Q[unit.texts["female"][0]] - p_Q[unit.texts["male"][0]] for unit in held[0].units])
    (pair,) = table["pairs"]
    (gap,) = pair["gaps"]
    known = ttest_1samp(difference, 0)
    assert gap["value"] == pytest.approx(difference.mean())
    assert pair["moved"]["value"] == pytest.approx(np.abs(difference).mean())
    assert math.log10(gap["p"]) == pytest.approx(math.log10(known.pvalue), rel=0.1)  # the variance is a bootstrap's
    low, high = known.confidence_interval()
    assert gap["interval"] == pytest.approx([low, high], abs=0.001)
    flipped = int(sum((p_Q[unit.texts["female"][0]] > 0.5) != (p_Q[unit.texts["male"][0]] > 0.5) for unit in held[0].units))
    assert pair["flips"]["interval"] == list(wilson(flipped, 60))
    assert {each["reason"]: each["rows"] for each in table["apart"]} == {"asymmetric": 1, "several_groups": 1}


def test_a_gap_of_one_word_alone_is_not_a_gap_of_the_group():
    held, answers, texts = answered(0.0)
    answers.probabilities[[i for i, text in enumerate(texts) if "his mother" in text[0].lower()]] += [-0.5, 0.5]
    gap = measure(held[1:], answers, texts, floor=0.05, seed=0)[0]["pairs"][0]["gaps"][0]
    assert gap["value"] == pytest.approx(0.5 / 8, abs=0.02)
    assert gap["verdict"] == "open"


def test_chances_are_corrected_over_all_comparisons():
    held, answers, texts = answered(0.01, lists=("gender", "religion"))
    gaps = [gap for table in measure(held, answers, texts, floor=0.05, seed=0) for pair in table["pairs"] for gap in pair["gaps"]]
    smallest = min(gaps, key=lambda gap: gap["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, len(gaps) * smallest["p"]))


def test_several_classes_and_several_labels():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]])
    first, second = np.array([0]), np.array([1])
    one, many = (Answers(probabilities, ("a", "b", "c"), several) for several in (False, True))
    assert one.tested == many.tested == (0, 1, 2)
    assert one.apart(first, second) == pytest.approx([0.3])  # half of 0.3 + 0.3
    assert many.apart(first, second) == pytest.approx([0.3])  # the largest change
    assert one.flips(first, second).tolist() == many.flips(first, second).tolist() == [True]
