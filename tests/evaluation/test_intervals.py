"""The bootstrap covers what it says, repeats itself, and takes any number of rows."""

import numpy as np
import pytest
from scipy.stats import binomtest

from rootstock.evaluation.intervals import at_the_edge, bootstrap, draws, interval, wilson
from rootstock.tasks._scores import class_metrics, number_metrics


def _right(columns, names):
    return {"accuracy": float(columns["right"].mean())}


def _class(columns, names):
    return class_metrics(columns["scores"], columns["answers"], names)


def _number(columns, names):
    return number_metrics(columns["scores"], columns["answers"], names)


def _class_rows(rows, classes):
    draw = np.random.default_rng(3)
    return {"scores": draw.dirichlet(np.ones(classes), rows).astype(np.float32), "answers": draw.integers(0, classes, rows)}


def test_intervals_cover_the_truth_as_often_as_they_say():
    draw, trials, hits = np.random.default_rng(0), 400, 0
    for trial in range(trials):
        columns = {"right": draw.random(200) < 0.8}
        low, high = bootstrap(columns, _right, names=("accuracy",), seed=trial, resamples=150)["accuracy"]
        hits += low <= 0.8 <= high
    assert 0.92 <= hits / trials <= 0.98


def test_width_is_that_of_the_normal_approximation():
    columns = {"right": np.arange(2000) % 5 > 0}
    low, high = bootstrap(columns, _right, names=("accuracy",), seed=0)["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 2000), rel=0.1)
    assert (low + high) / 2 == pytest.approx(0.8, abs=0.005)


def test_the_level_sets_the_width():
    columns = _class_rows(100, 2)
    wide, narrow = (bootstrap(columns, _class, names=("accuracy",), seed=0, level=level)["accuracy"] for level in (0.99, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_a_seed_repeats_and_another_does_not():
    columns = _class_rows(50, 3)
    first, again, other = (bootstrap(columns, _class, names=("macro_f1",), seed=seed, resamples=50) for seed in (1, 1, 2))
    assert first == again != other


def test_equal_seeds_draw_equal_rows():
    """What makes differences of two models paired: a model has no distance from itself."""
    columns = _class_rows(50, 3)
    twice = [draws(columns, _class, names=("accuracy", "macro_f1"), seed=4, resamples=20) for _ in range(2)]
    assert (twice[0] == twice[1]).all()
    assert twice[0].std(axis=0).all()


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows(rows):
    found = bootstrap(_class_rows(rows, 3), _class, names=("accuracy", "roc_auc"), seed=0, resamples=50)
    assert 0 <= found["accuracy"][0] <= found["accuracy"][1] <= 1


def test_undefined_figures_are_left_out():
    columns = {"scores": np.zeros((5, 1)), "answers": np.arange(5.0)}
    assert set(bootstrap(columns, _number, names=("pearson", "r2"), seed=0, resamples=20)) == {"r2"}


def test_resamples_without_the_figure_do_not_spoil_it():
    columns = {"scores": np.array([[0.0], [1.0], [2.0]]), "answers": np.array([0.0, 1.0, 3.0])}
    drawn_R = draws(columns, _number, names=("pearson",), seed=0, resamples=200)[:, 0]
    assert np.isnan(drawn_R).any()
    low, high = interval(drawn_R)
    assert 0.9 < low <= high <= 1


@pytest.mark.parametrize(("right", "total"), [(7, 10), (10, 10), (0, 3), (512, 1000)])
def test_the_interval_of_a_share_is_wilsons(right, total):
    wanted = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson(right, total) == pytest.approx((wanted.low, wanted.high))


def test_a_share_that_nothing_contradicts_still_has_an_interval():
    assert at_the_edge((1.0, 1.0), 9) == wilson(9, 9) == (pytest.approx(9 / (9 + 1.96**2), abs=1e-4), 1.0)
    assert at_the_edge((0.0, 0.0), 9) == wilson(0, 9)
    assert at_the_edge((0.4, 0.6), 9) == (0.4, 0.6)
