import pytest

from rootstock.report import curves


def test_smooth_keeps_a_constant_and_is_not_pulled_to_zero():
    assert curves.smooth([2.0] * 100) == pytest.approx([2.0] * 100)


def test_smooth_follows_but_damps_a_spike():
    found = curves.smooth([1.0] * 50 + [10.0] + [1.0] * 49)
    assert 1.5 < max(found) < 6
    assert found[-1] == pytest.approx(1.0, abs=0.01)


def test_thin_keeps_ends_and_spikes_of_a_long_curve():
    values = [1.0] * 100_000
    values[54_321], values[77_777] = 9.0, -3.0
    kept = curves.thin(values)
    assert len(kept) <= curves.POINTS
    assert {0, 54_321, 77_777, 99_999} <= set(kept)
    assert kept == sorted(kept)


def test_thin_leaves_a_short_curve_whole():
    assert curves.thin([3.0, 1.0, 2.0]) == [0, 1, 2]


def test_a_hundred_thousand_steps_become_a_small_chart(facts):
    made = facts()
    made["history"] = [{"event": "step", "step": i + 1, "loss": (i % 7) / 7, "rate": 1e-4} for i in range(100_000)]
    (loss,) = curves.curves(made)
    assert all(len(trace["x"]) <= curves.POINTS for trace in loss.figure["data"])
    assert "100,000 steps" in loss.sentence


def test_one_evaluation_is_enough(facts):
    _, validation = curves.curves(facts())
    assert validation.table.rows == [("20", "0.750", "0.700")]


def test_a_loss_that_is_no_number_is_left_out(facts):
    made = facts()
    made["history"][3]["loss"] = float("nan")
    loss, _ = curves.curves(made)
    assert 4 not in loss.figure["data"][0]["x"]
