"""The range test: what it suggests of a known curve, and that nothing of it is left behind."""

import numpy as np
import pytest

from rootstock.core.errors import Diverged
from rootstock.loop import range_test

RATES = np.geomspace(1e-5, 1.0, 100)


def falling(steepest, lowest):
    """A loss that falls as a logistic curve around one rate and rises behind another."""
    logs = np.log10(RATES)
    return 1 / (1 + np.exp(6 * (logs - np.log10(steepest)))) + np.exp(8 * (logs - np.log10(lowest * 2)))


def test_the_smoothing_is_a_mean_without_a_pull_to_zero():
    assert range_test.smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    held = range_test.smoothed([1.0, 3.0])
    assert held == pytest.approx([1.0, (0.9 * 0.1 * 1.0 + 0.1 * 3.0) / (1 - 0.81)])


def test_the_smaller_of_the_steepest_and_a_tenth_of_the_lowest():
    found = range_test.suggested(RATES.tolist(), falling(1e-3, 1e-1).tolist())
    assert found.steepest == pytest.approx(1e-3, rel=1.0), "the smoothing lags by some steps"
    assert found.rate == pytest.approx(min(found.steepest, found.lowest / 10), rel=0.05)
    late = range_test.suggested(RATES.tolist(), falling(3e-2, 1e-1).tolist())
    assert late.rate == pytest.approx(late.lowest / 10, rel=0.05)
    assert late.rate < late.steepest


def test_a_loss_that_never_falls_is_no_ground_for_a_rate():
    with pytest.raises(Diverged, match="no rate lowers the loss"):
        range_test.suggested(RATES.tolist(), np.linspace(1, 5, 100).tolist())


def test_a_curve_ends_where_it_broke():
    losses = [1.0] * 20 + [0.5] * 20 + [50.0] * 20
    assert 40 < len(range_test.smoothed(losses)) < 60
