"""The table of minimal pairs from scores that are known."""

import numpy as np
import pytest

from rootstock.data.minimal_pairs import Pair
from rootstock.evaluation.probes import blimp
from rootstock.evaluation.probes.likelihood import Scores


def test_accuracy_is_counted_by_paradigm_term_and_field():
    pairs = [
        Pair("g", "b", name, term, "syntax")
        for name, term in (("one", "islands"), ("two", "islands"), ("two", "islands"), ("three", "npi"))
    ]
    nats = [-1, -2, -5, -3, -1, -2, np.nan, -1]
    found = blimp.tally(pairs, Scores(np.array(nats, float), 0.0))
    assert (found["pairs"], found["accuracy"], found["left_out"]) == (3, pytest.approx(2 / 3), 1)
    assert {row["name"]: (row["pairs"], row["accuracy"]) for row in found["paradigms"]} == {
        "one": (1, 1.0),
        "two": (2, 0.5),
        "three": (0, None),
    }
    assert {row["name"]: row["accuracy"] for row in found["terms"]} == {"islands": pytest.approx(2 / 3), "npi": None}
    assert [(row["name"], row["pairs"]) for row in found["fields"]] == [("syntax", 3)]


def test_a_tie_counts_half():
    found = blimp.tally([Pair("g", "b", "p")] * 2, Scores(np.array([-1.0, -1.0, -1.0, -2.0]), 0.0))
    assert (found["accuracy"], found["ties"]) == (0.75, 1)
    assert found["fields"] == []
