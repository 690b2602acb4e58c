"""A budget of time, played through with a clock of its own: nothing is measured here."""

import pytest

from rootstock.loop.clock import Clock


def played(limit, *, start, update, each, guess, fixed, epoch=40):
    """A training as the loop carries it out; when the whole of it ends, how far the last update was from the end, and its passes."""
    clock, spent, updates, passes = Clock(limit), start, 0, 0
    clock.reserve(fixed, passes=2, each=guess, begun=spent)
    far = last = 0.0
    while far < 1:
        last = far
        spent, updates = spent + update, updates + 1
        clock.updated(update)
        if updates % epoch == 0 and clock.fits(spent):
            spent, passes = spent + each, passes + 1
            clock.measured(each)
        far = clock.progress(spent)
        assert far >= last, "a schedule never goes back"
    return spent + 2 * each + fixed, last, passes


@pytest.mark.parametrize("update", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("each", [0.5, 6.0, 20.0])
def test_the_whole_ends_within_half_an_update_of_its_budget_once_a_pass_was_measured(update, each):
    end, last, passes = played(300.0, start=20.0, update=update, each=each, guess=1.0, fixed=5.0, epoch=10)
    assert passes
    assert end == pytest.approx(300.0, abs=update / 2 + 1e-6)
    assert last >= 1 - 1.6 * update / (300 - 5 - 2 * each)


def test_a_pass_that_would_not_fit_is_left_to_the_end():
    end, _, passes = played(100.0, start=0.0, update=1.0, each=30.0, guess=30.0, fixed=0.0, epoch=25)
    assert (end, passes) == (pytest.approx(100.0, abs=0.5), 0)


def test_learning_gets_a_tenth_whatever_comes_after():
    clock = Clock(60.0)
    clock.reserve(50.0, passes=2, each=20.0, begun=12.0)
    assert clock.seconds == pytest.approx(18.0)


def test_without_a_budget_nothing_is_counted():
    clock = Clock(None)
    clock.reserve(5.0, passes=2, each=1.0, begun=3.0)
    clock.updated(1.0)
    assert (clock.progress(1e9), clock.share, clock.fits(1e9)) == (0.0, 0.0, True)
