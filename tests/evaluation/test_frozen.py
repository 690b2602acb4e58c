"""Scores of frozen vectors: folds, probe and neighbours against scikit-learn, and how far LogME moves."""

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from rootstock.evaluation import frozen
from rootstock.evaluation.logme import logme


def drawn(rows=150, classes=3, signal=4.0, seed=0):
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, classes, rows)
    return rng.normal(size=(rows, 8)) + signal * np.eye(8)[answers], frozen.Labels(answers, np.arange(rows), classes, 0)


def numbers(rows=150, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 6))
    answers = vectors @ np.arange(6.0) + noise * rng.normal(size=rows)
    return vectors, frozen.Labels(answers, np.arange(rows), 0, 0)


def test_every_fold_gets_its_share_of_each_class_and_equal_texts_stay_together():
    answers = np.array([0] * 50 + [1] * 25)
    fold = frozen.Labels(answers, np.arange(75), 2, 0).folds()
    assert [np.bincount(fold[answers == each], minlength=5).tolist() for each in (0, 1)] == [[10] * 5, [5] * 5]
    groups = np.arange(75) // 3
    together = frozen.Labels(answers, groups, 2, 0).folds()
    assert all(len(set(together[groups == each])) == 1 for each in range(25))


def test_folds_differ_by_their_draw_and_not_otherwise():
    labels = drawn()[1]
    np.testing.assert_array_equal(labels.folds(2, draw=1), labels.folds(2, draw=1))
    assert (labels.folds(2, draw=1) != labels.folds(2, draw=2)).any()


def test_a_probe_reads_what_lies_in_the_vectors_and_nothing_else():
    vectors, labels = drawn()
    assert (frozen.probe(vectors, labels).scores.argmax(1) == labels.answers).mean() > 0.95
    noise = np.random.default_rng(1).normal(size=vectors.shape)
    assert (frozen.probe(noise, labels).scores.argmax(1) == labels.answers).mean() < 0.5
    np.testing.assert_allclose(frozen.probe(noise, labels).scores.sum(1), 1, rtol=1e-5)


def test_a_probe_of_numbers_comes_as_near_as_the_noise_lets_it():
    vectors, labels = numbers()
    apart = labels.answers - frozen.probe(vectors, labels).scores[:, 0]
    assert apart.std() == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize("made", [drawn, numbers])
def test_neighbours_are_scikit_learns(made):
    vectors, labels = made(signal=1.0) if made is drawn else made()
    kind = KNeighborsClassifier if labels.classes else KNeighborsRegressor
    model, split = kind(15, metric="cosine", algorithm="brute"), PredefinedSplit(labels.folds())
    ours = frozen.neighbours(vectors, labels).scores
    if labels.classes:
        np.testing.assert_array_equal(ours.argmax(1), cross_val_predict(model, vectors, labels.answers, cv=split))
    else:
        np.testing.assert_allclose(ours[:, 0], cross_val_predict(model, vectors, labels.answers, cv=split))


def test_halves_move_logme_as_other_rows_from_the_same_source_do():
    spread = np.std([logme(vectors, labels.targets) for vectors, labels in (drawn(seed=seed, signal=1.0) for seed in range(100))], ddof=1)
    vectors, labels = drawn(signal=1.0)
    halves = np.std(frozen.evidence(vectors, labels).halves, ddof=1)
    assert 0.6 < halves / spread < 1.7


def test_a_base_is_not_apart_from_itself_and_is_from_noise():
    vectors, labels = drawn()
    held = frozen.evidence(vectors, labels)
    assert frozen.apart(held, held) == (0.0, (0.0, 0.0))
    low, high = frozen.apart(held, frozen.evidence(np.random.default_rng(1).normal(size=vectors.shape), labels))[1]
    assert 0 < low < high
