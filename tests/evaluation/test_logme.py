"""LogME against its definition: the evidence as a density, maximised by a generic optimiser, and the published slow iteration."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from rootstock.evaluation import logme


def drawn(rows, width, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, width)) * np.linspace(0.2, 3, width) + 0.5
    return vectors, vectors @ rng.normal(size=width) * signal + 2 * rng.normal(size=rows)


def density(vectors, target, alpha, beta):
    """The definition: weights integrated out, the target is Gaussian with covariance 1/beta + F F' / alpha."""
    return multivariate_normal(np.zeros(len(target)), np.eye(len(target)) / beta + vectors @ vectors.T / alpha).logpdf(target) / len(target)


def by_eigenvalues(vectors, target, alpha, beta):
    """Bishop 2006, (3.86), with the log determinant over all eigenvalues of F'F."""
    rows, width = vectors.shape
    precision = alpha * np.eye(width) + beta * vectors.T @ vectors
    mean = beta * np.linalg.solve(precision, vectors.T @ target)
    error, log_det = ((vectors @ mean - target) ** 2).sum(), np.log(np.linalg.eigvalsh(precision)).sum()
    told = width * np.log(alpha) + rows * np.log(beta) - beta * error - alpha * mean @ mean - log_det - rows * np.log(2 * np.pi)
    return told / 2 / rows


def maximised(vectors, target):
    found = [
        minimize(
            lambda x: -by_eigenvalues(vectors, target, *np.exp(x)), start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}
        )
        for start in ([0.0, 0.0], [3.0, -2.0])
    ]
    return max(-each.fun for each in found)


def slow(vectors, target):
    """The iteration of the first paper, with matrices and not their decomposition."""
    alpha = beta = 1.0
    rows, width = vectors.shape
    spreads = np.linalg.eigvalsh(vectors.T @ vectors).clip(0)
    for _ in range(3000):
        mean = beta * np.linalg.solve(alpha * np.eye(width) + beta * vectors.T @ vectors, vectors.T @ target)
        gamma = (beta * spreads / (alpha + beta * spreads)).sum()
        alpha, beta = gamma / (mean @ mean), (rows - gamma) / ((vectors @ mean - target) ** 2).sum()
    return by_eigenvalues(vectors, target, alpha, beta)


@pytest.mark.parametrize(("rows", "width", "signal"), [(60, 7, 1.0), (60, 7, 0.2), (25, 40, 1.0)])
def test_the_evidence_is_the_greatest_that_there_is(rows, width, signal):
    vectors, target = drawn(rows, width, signal=signal)
    ours = logme.logme(vectors, target[:, None])
    assert ours == pytest.approx(maximised(vectors, target), abs=1e-6)
    assert ours == pytest.approx(slow(vectors, target), abs=1e-6)


@pytest.mark.parametrize(("rows", "width"), [(30, 5), (12, 30)])
def test_the_closed_form_is_the_density(rows, width):
    vectors, target = drawn(rows, width, 1)
    held = logme.spectrum(vectors, target[:, None])
    for ratio in (0.1, 3.0):
        alpha = 1 / (((held.along[:, 0] ** 2 / (held.squares + ratio)).sum() + held.rest[0] / ratio) / rows)
        assert logme.evidence(held, np.array([ratio]))[0] == pytest.approx(density(vectors, target, alpha, alpha / ratio), abs=1e-9)
        assert by_eigenvalues(vectors, target, alpha, alpha / ratio) == pytest.approx(
            density(vectors, target, alpha, alpha / ratio), abs=1e-9
        )


def test_of_classes_it_is_the_mean_over_one_against_the_rest():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 90)
    vectors = rng.normal(size=(90, 6)) + 2 * np.eye(6)[labels]
    ones = np.eye(3)[labels]
    assert logme.logme(vectors, ones) == pytest.approx(np.mean([maximised(vectors, ones[:, i]) for i in range(3)]), abs=1e-6)


def test_the_unit_of_the_vectors_does_not_count_and_what_they_hold_does():
    vectors, target = drawn(80, 6)
    ours = logme.logme(vectors, target[:, None])
    assert logme.logme(1000 * vectors, target[:, None]) == pytest.approx(ours, abs=1e-9)
    assert logme.logme(np.random.default_rng(9).normal(size=vectors.shape), target[:, None]) < ours - 0.1


def test_vectors_and_targets_that_hold_nothing():
    vectors, target = drawn(20, 4)
    assert np.isnan(logme.logme(np.zeros((20, 4)), target[:, None]))
    both = np.stack([target, np.zeros(20)], axis=1)  # a class that none of these rows has
    assert logme.logme(vectors, both) == pytest.approx(logme.logme(vectors, target[:, None]))
    assert np.isfinite(logme.logme(np.eye(20), np.eye(20)[:, :3]))  # as many directions as rows: no error is left
