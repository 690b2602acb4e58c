"""The fit against laws that are known and against the published refit; plans against the closed form and a search."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize_scalar

from rootstock.core.errors import DataError, UsageError
from rootstock.planning import scaling
from rootstock.planning.scaling import FIGURES, PUBLISHED, Fit, expected, plan
from rootstock.planning.scaling_fit import Points, _Problem, _weights, fit, objective

TRUE = np.array([400.0, 1500.0, 1.7, 0.34, 0.31])


def grid(law=TRUE, noise=0.0, seed=0):
    """Five sizes with six numbers of tokens each."""
    sizes, tokens = (each.ravel() for each in np.meshgrid(np.geomspace(2e7, 5e9, 5), np.geomspace(5e8, 2e11, 6)))
    loss = expected(law, sizes, tokens) * np.exp(np.random.default_rng(seed).normal(0, noise, len(sizes)))
    return Points(sizes, tokens, loss)


@pytest.mark.parametrize("law", [TRUE, np.array([50.0, 9000.0, 0.4, 0.22, 0.55])], ids=["usual", "other"])
def test_a_known_law_is_found_again(law):
    found = fit(grid(law), resamples=0)
    np.testing.assert_allclose(found.law_5, law, rtol=1e-3)
    assert found.objective < 1e-10
    assert found.agreeing > found.starts / 2
    assert found.notes == ()


def test_a_wild_run_hardly_moves_the_law():
    clean = grid()
    wild = replace(clean, loss=np.where(np.arange(len(clean)) == 7, clean.loss * 1.5, clean.loss))
    np.testing.assert_allclose(fit(wild, resamples=0).law_5, TRUE, rtol=2e-2)


def test_the_gradient_is_that_of_the_value():
    problem, generator = _Problem(grid(noise=0.01)), np.random.default_rng(1)
    weight = generator.integers(0, 3, 30).astype(float)
    for theta in problem.starts()[[0, 6, 24]] + generator.normal(0, 0.01, (3, 5)):
        numeric = approx_fprime(theta, lambda at: problem.value(at, weight)[0], 1e-7)
        np.testing.assert_allclose(problem.value(theta, weight)[1], numeric, rtol=2e-4, atol=abs(numeric).max() * 1e-5)


def test_what_is_minimised_is_the_published_objective():
    points, theta = grid(noise=0.01), np.array([0.1, 0.2, 0.6, 0.3, 0.3])
    problem = _Problem(points)
    inner, _ = problem.value(theta, np.ones(len(points)))
    assert inner * 1e-6 == pytest.approx(objective(problem.law(theta), points), rel=1e-9)
    one = Points(np.array([1e8]), np.array([1e9]), expected(TRUE, np.array([1e8]), np.array([1e9])) * np.exp([-0.0005]))
    assert objective(TRUE, one) == pytest.approx(0.0005**2 / 2)
    assert objective(TRUE, replace(one, loss=one.loss * np.exp(-0.01))) == pytest.approx(1e-3 * (0.0105 - 0.0005))


def test_a_weight_is_a_run_seen_so_often():
    points = grid(noise=0.01)
    (weight,) = _weights(len(points), 1, 3)
    assert weight.sum() == len(points)
    assert weight.max() > 1
    rows = np.repeat(np.arange(len(points)), weight.astype(int))
    again = fit(Points(points.parameters[rows], points.tokens[rows], points.loss[rows]), resamples=0)
    np.testing.assert_allclose(fit(points, resamples=1, seed=3).draws[0], again.law_5, rtol=1e-3)


def test_intervals_hold_the_truth_and_widen_with_noise():
    close, far = (fit(grid(noise=noise, seed=5), resamples=30) for noise in (0.002, 0.01))
    for found in (close, far):
        for (low, high), true in zip(scaling.intervals(found.draws), TRUE, strict=True):
            assert low < true < high
    widths = [np.ptp(np.array(scaling.intervals(found.draws)), axis=1) for found in (close, far)]
    assert (widths[1] > 3 * widths[0]).all()


@pytest.fixture(scope="module")
def chinchilla(data_folder):
    """The 245 runs read from Chinchilla's figure."""
    path = data_folder / "scaling_chinchilla_epoch" / "svg_extracted_data.csv"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    with path.open() as stream:
        rows = [[float(row[name]) for name in ("Model Size", "Training FLOP", "loss")] for row in csv.DictReader(stream)]
    sizes, flops, loss = np.array(sorted(rows, key=lambda row: row[2])[:-5]).T
    return Points(sizes, flops / 6 / sizes, loss)


def test_the_published_refit_is_reached(chinchilla):
    found = fit(chinchilla, resamples=50)
    assert found.points == 240
    assert found.objective == pytest.approx(0.0010183, rel=1e-3)
    assert found.objective <= objective(PUBLISHED.law_5, chinchilla) == pytest.approx(0.0010186, rel=1e-3)
    logs = [*np.log(found.law_5[:3]), *found.law_5[3:]]
    np.testing.assert_allclose(logs, [6.169, 7.670, 0.5973, 0.3473, 0.3672], atol=6e-4)  # as its notebook prints them
    np.testing.assert_allclose(found.law_5, PUBLISHED.law_5, rtol=0.03)
    errors = [124.52, 1293.28, 0.02566, 0.01540, 0.02060]
    for name, (low, high), published, error in zip(FIGURES, scaling.intervals(found.draws), PUBLISHED.law_5, errors, strict=True):
        assert low < published < high, name
        assert 0.5 < (high - low) / (2 * 1.96 * error) < 1.5, name
    assert found.agreeing == found.starts


def chosen(points, kept):
    return Points(points.parameters[kept], points.tokens[kept], points.loss[kept])


def test_runs_that_cannot_tell_are_refused():
    points, five = grid(), np.arange(30) < 5
    for kept, *said in (
        (five, "found 5 usable runs", "6 or more"),
        (np.isclose(points.parameters, 5e9), "too little: 1 size", "other sizes"),
        (points.tokens < 3e9, "too little: 2 numbers of tokens", "other numbers of tokens"),
    ):
        with pytest.raises(DataError) as error:
            fit(chosen(points, kept))
        assert all(part in str(error.value) for part in said)


def test_a_fixed_ratio_of_tokens_is_refused_and_a_narrow_one_told():
    sizes = np.geomspace(1e7, 1e10, 24)
    fixed = Points(sizes, 20 * sizes, expected(TRUE, sizes, 20 * sizes))
    with pytest.raises(DataError, match="move as one"):
        fit(fixed)
    narrow = sizes * 20 * np.where(np.arange(24) % 2, 1.4, 0.7)
    (note,) = fit(Points(sizes, narrow, expected(TRUE, sizes, narrow)), resamples=0).notes
    assert "move together" in note


def test_a_term_that_is_not_there_is_told():
    points = grid()
    flat = fit(replace(points, loss=expected(TRUE, 1e9, points.tokens)), resamples=0)
    assert any("A went to zero" in note for note in flat.notes)
    assert not any("alpha" in note for note in flat.notes)


@pytest.mark.parametrize("flops", [1e18, 1e21, 1e25])
def test_the_best_plan_is_the_lowest_loss_of_its_flops(flops):
    best = plan(PUBLISHED, flops=flops)
    searched = minimize_scalar(
        lambda log: expected(PUBLISHED.law_5, np.exp(log), flops / 6 / np.exp(log)),
        bounds=(5, 40),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert best["parameters"] == pytest.approx(np.exp(searched.x), rel=1e-4)
    assert best["loss"] == pytest.approx(searched.fun, rel=1e-12)
    assert 6 * best["parameters"] * best["tokens"] == pytest.approx(flops)
    for one in ("parameters", "tokens"):
        again = plan(PUBLISHED, **{one: best[one]})
        assert [again[name] for name in ("flops", "parameters", "tokens", "loss")] == pytest.approx(
            [best[name] for name in ("flops", "parameters", "tokens", "loss")], rel=1e-9
        )


def test_chinchilla_itself():
    found = plan(PUBLISHED, parameters=70e9, tokens=1.4e12)
    assert found["loss"] == pytest.approx(1.81686 + 482.00572 / 70e9**0.34781 + 2085.4342 / 1.4e12**0.36585, rel=1e-12)
    assert found["flops"] == pytest.approx(5.88e23)
    assert not found["optimal"]
    assert found["best"]["loss"] <= found["loss"] < found["best"]["loss"] + 1e-3
    assert 15 < found["best"]["tokens_per_parameter"] < 25
    assert found["intervals"] == {"loss": None}
    assert "45.2 times the largest" in found["notes"][0]


def test_intervals_of_a_plan_are_those_of_its_draws():
    draws = TRUE * np.linspace(0.98, 1.02, 41)[:, None]
    found = plan(replace(PUBLISHED, law_5=TRUE, draws=draws), flops=1e21)
    sizes, tokens = zip(*(scaling.optimum(law, 1e21) for law in draws), strict=True)
    losses = [expected(law, found["parameters"], found["tokens"]) for law in draws]
    for name, values in (("parameters", sizes), ("tokens", tokens), ("loss", losses)):
        assert found["intervals"][name] == pytest.approx(np.quantile(values, [0.025, 0.975]))
    fixed = plan(replace(PUBLISHED, law_5=TRUE, draws=draws), flops=1e21, tokens=1e10)
    assert fixed["intervals"].keys() == {"loss"}
    assert fixed["parameters"] == pytest.approx(1e21 / 6e10)


@pytest.mark.parametrize(
    "held", [{}, {"flops": 1e21, "parameters": 1e9, "tokens": 1e9}, {"flops": 0.0}, {"tokens": float("nan")}, {"flops": 1e300}]
)
def test_what_cannot_be_planned_is_refused(held):
    with pytest.raises(UsageError, match=r"^(found (none|all three)|--\w+ is)"):
        plan(PUBLISHED, **held)


def test_a_fit_is_read_again_from_json():
    found = fit(grid(noise=0.01), resamples=3)
    again = Fit.of(json.loads(json.dumps(found.facts())), "scaling.json")
    assert plan(again, flops=1e21) == plan(found, flops=1e21)
    for broken in (
        {},
        found.facts() | {"law": {"A": 1}},
        found.facts() | {"draws": [[1, 2]]},
        found.facts() | {"draws": [[0, 1, 1, 1, 1]]},
    ):
        with pytest.raises(UsageError, match="holds no fit"):
            Fit.of(broken, "scaling.json")
