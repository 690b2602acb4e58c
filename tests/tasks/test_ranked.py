"""Areas of many sets of rows: those of many rows and classes by each row's part in them."""

import numpy as np
import pytest

from rootstock.tasks import _ranked
from rootstock.tasks._ranked import Areas


def drawn(rows, classes, *, seed=0):
    """Scores that tell something of the answers, with ties."""
    rng = np.random.default_rng(seed)
    answers_N = rng.integers(0, classes, rows)
    scores_NC = np.round(rng.normal(size=(rows, classes)) + 0.8 * (answers_N[:, None] == np.arange(classes)), 1)
    return Areas(scores_NC, answers_N[:, None] == np.arange(classes))


def counts(rows, sets, *, seed=1):
    """Resamples, by how often each holds each row."""
    return np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=sets).astype(float)


@pytest.mark.parametrize("classes", [2, 4])
def test_by_each_rows_part_resamples_lie_where_the_exact_ones_do(classes, monkeypatch):
    held, counts_RN = drawn(600, classes), counts(600, 400)
    exact_R = held.mean(counts_RN)
    monkeypatch.setattr(_ranked, "_EXACT", 0)
    found_R = held.mean(counts_RN)
    assert np.corrcoef(found_R, exact_R)[0, 1] > 0.995
    assert found_R.std() == pytest.approx(exact_R.std(), rel=0.02)
    assert found_R.mean() == pytest.approx(exact_R.mean(), abs=0.1 * exact_R.std())


def test_the_parts_are_the_derivative_of_the_area():
    held = drawn(60, 3)
    more_RN = np.ones((60, 60)) + 1e-6 * np.eye(60)
    assert (held._exact(more_RN) - held.whole) / 1e-6 == pytest.approx(held.moves, abs=1e-5)
    assert held.moves.sum() == pytest.approx(0.0, abs=1e-12)


def test_of_many_rows_nothing_is_ordered_again_for_each_resample(monkeypatch):
    held = drawn(3000, 4)
    assert 0.6 < held.whole < 0.8
    monkeypatch.setattr(_ranked.Valued, "area", None)
    assert held.mean(counts(3000, 5)).shape == (5,)


def test_sets_that_are_no_resamples_are_exact_however_many_rows_there_are(monkeypatch):
    held, half_RN = drawn(200, 2), np.zeros((2, 200))
    half_RN[0, :100] = half_RN[1, 100:] = 1
    exact_R = held.mean(half_RN)
    monkeypatch.setattr(_ranked, "_EXACT", 0)
    assert held.mean(half_RN).tolist() == exact_R.tolist()


def test_classes_without_both_kinds_of_rows_have_no_part(monkeypatch):
    held = Areas(np.zeros((3, 1)), np.ones((3, 1), bool))
    monkeypatch.setattr(_ranked, "_EXACT", 0)
    assert np.isnan(held.mean(np.ones((2, 3)))).all()
