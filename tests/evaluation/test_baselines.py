"""Baselines learn what words can say, repeat themselves, and survive odd input."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from rootstock.evaluation.baselines import baselines

GOOD, BAD = ["a fine good film", "good and fine", "so good it shines"], ["a dull bad film", "bad and dull", "so bad it hurts"]


def test_words_that_tell_the_class_are_learned(texts, fake_task):
    train = texts(GOOD + BAD, [1, 1, 1, 0, 0, 0])
    found = baselines(train, texts(["good", "bad", "fine"], [1, 0, 1]), fake_task(classes=2))
    assert found.left_out == {}
    assert found.columns["tfidf"]["scores"].argmax(axis=1).tolist() == [1, 0, 1]
    np.testing.assert_allclose(found.columns["tfidf"]["scores"].sum(axis=1), 1)
    assert found.columns["tfidf"]["answers"].tolist() == [1, 0, 1]


def test_majority_answers_with_the_shares_of_training(texts, fake_task):
    train = texts(GOOD + BAD[:1], [2, 2, 2, 0])
    found = baselines(train, texts(["good", "bad"], [0, 0]), fake_task(classes=4))
    assert found.columns["majority"]["scores"].tolist() == [[0.25, 0, 0.75, 0]] * 2


def test_a_class_that_training_never_showed_gets_nothing(texts, fake_task):
    train = texts(GOOD + BAD, [3, 3, 3, 1, 1, 1])
    scores_NC = baselines(train, texts(["good", "bad"], [3, 1]), fake_task(classes=5)).columns["tfidf"]["scores"]
    assert scores_NC.shape == (2, 5)
    assert scores_NC[:, [0, 2, 4]].sum() == 0
    assert scores_NC.argmax(axis=1).tolist() == [3, 1]


def test_label_sets(texts, fake_task):
    train = texts(GOOD + BAD, [[1, 0, 1]] * 3 + [[0, 1, 1]] * 2 + [[0, 0, 1]])
    found = baselines(train, texts(["good fine", "bad dull"], [[1, 0, 1], [0, 1, 1]]), fake_task(of="classes", classes=3)).columns
    assert found["majority"]["scores"].tolist() == [[1, 0, 1]] * 2
    scores_NC = found["tfidf"]["scores"]
    assert scores_NC[0, 0] > scores_NC[1, 0]
    assert scores_NC[0, 1] < scores_NC[1, 1]
    assert (scores_NC[:, 2] == 1).all()


def test_numbers(texts, fake_task):
    train = texts(GOOD + BAD, [5.0, 4.0, 5.0, 1.0, 2.0, 1.0])
    found = baselines(train, texts(["good", "bad"], [5.0, 1.0]), fake_task(of="number", classes=1)).columns
    assert found["majority"]["scores"].tolist() == [[3.0], [3.0]]
    assert found["tfidf"]["scores"].shape == (2, 1)
    assert found["tfidf"]["scores"][0, 0] > 3 > found["tfidf"]["scores"][1, 0]


def test_pairs_are_compared_and_not_only_read(texts, fake_task):
    """Each word is on both sides equally often in both classes: only what the two texts share tells."""
    words = ["red", "green", "blue", "black", "white", "grey"]
    pairs = [(a, b) for a in words for b in words]
    same = [int(a == b) for a, b in pairs]
    found = baselines(texts(pairs, same), texts(pairs, same), fake_task(classes=2)).columns["tfidf"]["scores"]
    equal = np.array(same, bool)
    assert found[equal, 1].min() > found[~equal, 1].max()


def test_the_same_input_gives_the_same_numbers(texts, fake_task):
    train, asked = texts(GOOD + BAD, [1, 1, 1, 0, 0, 0]), texts(["good film", "dull"], [1, 0])
    first, again = (baselines(train, asked, fake_task(classes=2)).columns["tfidf"]["scores"] for _ in range(2))
    assert (first == again).all()


@pytest.mark.parametrize("rows", [["...", "?!"], ["", None]], ids=["punctuation", "nothing"])
def test_no_words_leaves_tfidf_out_with_a_reason(texts, fake_task, rows):
    found = baselines(texts(rows, [0, 1]), texts(["good"], [0]), fake_task(classes=2))
    assert set(found.columns) == {"majority"}
    assert "no words" in found.left_out["tfidf"]


def test_rare_words_of_many_rows_leave_tfidf_out_too(texts, fake_task):
    rows = [f"word{i}" for i in range(1000)]
    found = baselines(texts(rows, [0, 1] * 500), texts(["word1"], [0]), fake_task(classes=2))
    assert "tfidf" in found.left_out


def test_one_class_in_training(texts, fake_task):
    found = baselines(texts(GOOD, [1, 1, 1]), texts(["bad"], [0]), fake_task(classes=2)).columns
    assert found["tfidf"]["scores"].tolist() == [[0, 1]]


@pytest.mark.parametrize(("train", "asked"), [([], ["good"]), (["good"], [])])
def test_no_rows(texts, fake_task, train, asked):
    found = baselines(texts(train, [0] * len(train)), texts(asked, [0] * len(asked)), fake_task(classes=2))
    assert found.columns == {}
    assert set(found.left_out) == {"majority", "tfidf"}


def test_words_of_any_script_and_missing_texts(texts, fake_task):
    train = texts(["хороший фильм", "良い 映画", None, "плохой", "悪い"], [1, 1, 1, 0, 0])
    scores_NC = baselines(train, texts(["хороший", "悪い", None], [1, 0, 1]), fake_task(classes=2)).columns["tfidf"]["scores"]
    assert scores_NC[0, 1] > scores_NC[1, 1]
    assert np.isfinite(scores_NC).all()


def test_words_reach_on_real_reviews_what_they_are_known_to_reach(texts, fake_task):
    """TF-IDF with logistic regression scores about 0.80 on SST-2's sentences: a weaker baseline would flatter every model."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    found = sorted(Path(os.environ.get("ROOTSTOCK_DATA", default)).glob("**/sst2/train.tsv.gz"))
    if not found:
        pytest.skip("the SST-2 files are not here: set ROOTSTOCK_DATA to the folder that holds them")
    lines = gzip.decompress(found[0].read_bytes()).decode(), (found[0].parent / "dev.tsv").read_text("utf-8")
    train, dev = ([line.split("\t") for line in part.splitlines()] for part in lines)
    tables = (texts([text for text, _ in rows], [int(label) for _, label in rows]) for rows in (train, dev))
    words = baselines(*tables, fake_task(classes=2)).columns["tfidf"]
    assert (words["scores"].argmax(axis=1) == words["answers"]).mean() > 0.79
