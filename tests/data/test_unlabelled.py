"""Documents: what is held out, how corpora are mixed, what is counted."""

from collections import Counter

import numpy as np
import pytest

from rootstock.core.errors import RecipeError
from rootstock.data import unlabelled


def test_parts_of_a_document_are_the_document():
    text = "".join(f"line {i} {'word ' * (i % 40)}\n" + ("\n" if i % 7 == 0 else "") for i in range(900))
    made = list(unlabelled.parts(text))
    assert "".join(made) == text
    assert len(made) > 5
    assert all(part.endswith("\n") for part in made)
    assert max(map(len, made)) < 2 * unlabelled.PART_LETTERS
    assert list(unlabelled.parts("x" * 50_000)) == ["x" * 50_000]


def test_copies_stay_on_one_side_and_about_the_share_is_held_out():
    texts = [f"text number {i}" for i in range(4000)]
    rows = unlabelled.read([texts, [text.upper() + " " for text in texts]])
    held_N = unlabelled.held_out(unlabelled.digests(rows), 0.1, seed=3)
    np.testing.assert_array_equal(held_N[:4000], held_N[4000:])
    assert 0.08 < held_N.mean() < 0.12
    assert (held_N != unlabelled.held_out(unlabelled.digests(rows), 0.1, seed=4)).any()


def test_of_few_texts_one_is_held_out():
    rows = unlabelled.read([["one", "two", "three"]])
    assert unlabelled.held_out(unlabelled.digests(rows), 1e-9, seed=0).sum() == 1


def test_shares_of_corpora():
    tokens_S = np.array([900.0, 100.0])
    np.testing.assert_allclose(unlabelled.shares("proportional", tokens_S), [0.9, 0.1])
    np.testing.assert_allclose(unlabelled.shares("equal", tokens_S), [0.5, 0.5])
    np.testing.assert_allclose(unlabelled.shares(2.0, tokens_S), [0.75, 0.25])  # square roots: 30 and 10
    np.testing.assert_allclose(unlabelled.shares((1.0, 3.0), tokens_S), [0.25, 0.75])
    with pytest.raises(RecipeError, match="3 weights"):
        unlabelled.shares((1.0, 2.0, 3.0), tokens_S)


def test_proportional_shows_each_row_once_and_equal_repeats_the_small_corpus_evenly():
    source_N, lengths_N = np.array([0] * 90 + [1] * 10), np.full(100, 8)
    rng = np.random.default_rng(0)
    once = unlabelled.mixed(source_N, lengths_N, np.array([0.9, 0.1]), rng)
    assert sorted(once.tolist()) == list(range(100))
    even = np.bincount(unlabelled.mixed(source_N, lengths_N, np.array([0.5, 0.5]), rng), minlength=100)
    assert even[:90].sum() == even[90:].sum() == 50
    assert set(even[:90]) == {0, 1}
    assert set(even[90:]) == {5}


def test_the_account_counts_repeats_and_what_was_broken():
    rows = unlabelled.read([["same text", "Same  text", "other"]])
    digest_N = unlabelled.digests(rows)
    account = unlabelled.account(rows, np.array([False, False, True]), digest_N, Counter({"not UTF-8": 2}))
    assert account["rows"] == {"read": 5, "dropped": 2, "train": 2, "validation": 1}
    assert account["findings"]["duplicates"]["count"] == 1
    assert account["findings"]["duplicates"]["examples"][0]["text"] == "Same text"
