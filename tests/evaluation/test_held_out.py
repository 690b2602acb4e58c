"""Figures on held-out documents: intervals beside the closed form, and what one document can't tell."""

import math

import numpy as np
import pytest

from rootstock.evaluation import held_out
from rootstock.evaluation.intervals import bootstrap
from rootstock.tasks.causal_lm import CausalLM

DOCUMENTS, PIECES = 60, 8


@pytest.fixture(scope="module")
def columns():
    """Documents of eight pieces that are alike: the document decides the loss."""
    losses_D = np.random.default_rng(0).normal(3.0, 0.5, DOCUMENTS)
    losses_N = np.repeat(losses_D, PIECES)
    return {"loss": 20 * losses_N, "count": np.full(len(losses_N), 20.0), "hits": np.full(len(losses_N), 5.0)}


def test_an_interval_is_as_wide_as_whole_documents_make_it(columns):
    document_N = np.repeat(np.arange(DOCUMENTS), PIECES)[::-1] * 7
    low, high = held_out.between(columns, CausalLM(), names=["loss"], seed=1, document_N=document_N)["loss"]
    losses_D = columns["loss"][::PIECES] / 20
    expected = 2 * 1.96 * losses_D.std() / math.sqrt(DOCUMENTS)
    assert high - low == pytest.approx(expected, rel=0.1)
    assert low < losses_D.mean() < high
    by_rows = bootstrap(columns, CausalLM().metrics, names=["loss"], seed=1)["loss"]
    assert by_rows[1] - by_rows[0] == pytest.approx(expected / math.sqrt(PIECES), rel=0.1), "what pieces alone would claim"


def test_rows_that_are_documents_are_resampled_as_they_are(columns):
    found = held_out.score(columns, CausalLM(), seed=1)
    low, high = found["intervals"]["loss"]
    assert (low, high) == pytest.approx(bootstrap(columns, CausalLM().metrics, names=["loss"], seed=1)["loss"], rel=1e-9)
    assert found["documents"] == found["rows"] == DOCUMENTS * PIECES


def test_one_document_gives_no_interval_and_says_so(columns):
    found = held_out.score(
        columns,
        CausalLM(),
        seed=1,
        document_N=np.zeros(len(columns["loss"]), int),
        unigram={"loss": np.full(len(columns["loss"]), 8.0), "count": np.full(len(columns["loss"]), 2)},
    )
    assert found["intervals"] == found["beats"] == {}
    assert found["verdict"] == f"loss {found['metrics']['loss']:.3f} on 480 held-out rows of 1 text: one alone gives no interval"
    nothing = {name: np.zeros_like(values) for name, values in columns.items()}
    assert "nothing was guessed" in held_out.score(nothing, CausalLM(), seed=1)["verdict"]


def test_guessing_by_frequency_is_measured_on_the_same_documents():
    """Of three ids the first is met thrice and the second once, and each is counted once more: shares of 4, 2 and 1 in 7."""
    found = held_out.guessed(np.array([0, 0, 0, 1]), np.array([0, 1, 0]), np.array([0, 0, 2]), size=3, rows=3)
    often, seldom = -np.log(4 / 7), -np.log(2 / 7)
    assert found["loss"] == pytest.approx([often + seldom, 0, often])
    assert found["count"].tolist() == [2, 0, 1]
    rng = np.random.default_rng(0)
    columns = {"loss": rng.gamma(2.0, 3.0, 60), "count": np.full(60, 3), "hits": np.ones(60)}
    of = held_out.score(
        columns, CausalLM(), seed=1, document_N=np.arange(60) // 3, unigram={"loss": columns["loss"], "count": columns["count"]}
    )
    assert of["baselines"]["unigram"]["loss"] == pytest.approx(of["metrics"]["loss"])
    assert of["baseline_intervals"]["unigram"]["loss"] == pytest.approx(of["intervals"]["loss"])
    assert set(of["intervals"]) == set(of["metrics"])
