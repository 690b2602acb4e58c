"""Documents: what is held out, how corpora are mixed, what is counted."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from tests.conftest import make_tokenizer

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


def test_parts_know_their_document_and_which_of_them_ends_it():
    book = "".join(f"line {i} of a book\n" for i in range(2_000))
    rows = unlabelled.read([["short", book + "\n" * 5_000], ["other", " \n"]])
    told = [rows.column(name).to_pylist() for name in ("source", "document", "ends")]
    parts = len(rows) - 2
    assert parts > 10
    assert told == [[0] * (parts + 1) + [1], [0, *[1] * parts, 2], [True, *[False] * (parts - 1), True, True]]


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
    with pytest.raises(RecipeError, match="hold no text"):
        unlabelled.shares((1.0, 0.0), np.array([0.0, 100.0]))


def test_proportional_shows_each_row_once_and_equal_repeats_the_small_corpus_evenly():
    source_N, lengths_N = np.array([0] * 90 + [1] * 10), np.full(100, 8)
    rng = np.random.default_rng(0)
    (once,) = unlabelled.mixed(source_N, lengths_N, np.array([0.9, 0.1]), rng)
    assert sorted(once.tolist()) == list(range(100))
    rounds = unlabelled.mixed(source_N, lengths_N, np.array([0.5, 0.5]), rng)
    even = np.bincount(np.concatenate(rounds), minlength=100)
    assert even[:90].sum() == even[90:].sum() == 50
    assert set(even[:90]) == {0, 1}
    assert set(even[90:]) == {5}
    assert len(rounds) == 5
    assert all(len(set(rows.tolist())) == len(rows) for rows in rounds), "a row meets its copy"
    assert all((rows < 90).sum() > 3 and (rows >= 90).sum() == 10 for rows in rounds), "a corpus is in few of the rounds"


def test_proportional_repeats_nothing_of_a_large_corpus_with_short_rows():
    """Shares are sums of fractions: what is left over may not pay for a row, however short it is beside the whole."""
    lengths_N = np.concatenate([np.full(3_000, 1_000), np.ones(3_000, np.int64)])
    source_N = np.arange(6_000) % 3
    (rows,) = unlabelled.mixed(
        source_N, lengths_N, unlabelled.shares("proportional", np.bincount(source_N, lengths_N)), np.random.default_rng(0)
    )
    assert sorted(rows.tolist()) == list(range(6_000))


def test_texts_without_rows_leave_the_account_with_a_reason():
    rows = unlabelled.read([["one two", "?"], ["three"]])
    account = unlabelled.account(rows, np.array([False, False, True]), unlabelled.digests(rows), Counter(gone=2))
    found = unlabelled.without(account | {"broken_examples": []}, {"train": rows.slice(1, 1), "validation": rows.slice(2)}, ("a", "b"))
    assert found["rows"] == {"read": 5, "dropped": 4, "train": 1, "validation": 0}
    assert found["broken"] == {"gone": 2, "with too few tokens": 2}
    assert [(each["file"], each["text"]) for each in found["broken_examples"]] == [("a", "?"), ("b", "three")]


def test_rows_longer_than_what_is_kept_are_found_by_the_longer_of_their_texts():
    texts = (["a good film", "a film", "the song"], ["dull", "a very cold book", "a book"])
    found = unlabelled.cut_short(texts, make_tokenizer(), 5, lambda place: texts[0][place])
    assert (found["count"], found["share"]) == (1, 1 / 3)
    assert found["examples"] == [{"row": 2, "in": "file", "text": "a film", "tokens": 6}]


def test_the_account_counts_repeats_and_what_was_broken():
    rows = unlabelled.read([["same text", "Same  text", "other"]])
    digest_N = unlabelled.digests(rows)
    account = unlabelled.account(rows, np.array([False, False, True]), digest_N, Counter({"not UTF-8": 2}))
    assert account["rows"] == {"read": 5, "dropped": 2, "train": 2, "validation": 1}
    assert account["findings"]["duplicates"]["count"] == 1
    assert account["findings"]["duplicates"]["examples"][0]["text"] == "Same text"


def test_the_chosen_rows_come_corpus_by_corpus_in_parts_and_no_others():
    rows = unlabelled.read(
        [[f"text {number} of the first" for number in range(30)], [f"text {number} of the second" for number in range(20)]]
    )
    chosen_N = np.random.default_rng(0).random(len(rows)) < 0.6
    found = list(unlabelled.chosen(rows, chosen_N, count=7))
    assert pa.concat_tables([part for _, part in found]).equals(rows.filter(pa.array(chosen_N)))
    assert [number for number, _ in found] == sorted(number for number, _ in found)
    assert all(set(part.column("source").to_pylist()) == {number} and len(part) <= 7 for number, part in found)
    assert list(unlabelled.chosen(rows, ~chosen_N & chosen_N)) == []
