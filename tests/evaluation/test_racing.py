"""Who is worth more seeds: against integrals by scipy, a simulation of the seeds that are left, and what must never be said."""

import numpy as np
import pytest
from scipy import integrate, stats

from rootstock.evaluation import racing
from rootstock.evaluation.paired import Drawn, difference
from rootstock.evaluation.racing import Spread, apart, following, spread


def drawn(figures, rows=400, error=0.02, seed=0):
    """Figures by seed, moved by rows alike in all seeds."""
    moved_R1 = np.random.default_rng(seed).normal(0, error, (500, 1))
    return Drawn(np.array(figures), np.array(figures) + moved_R1, rows)


@pytest.mark.parametrize(("value", "freedom"), [(-0.02, 3.0), (-0.001, 5.0), (0.004, 9.0)])
def test_chance_and_worth_are_the_integrals_of_students_distribution(value, freedom):
    told, share = Spread(0.01**2, freedom), 0.4
    law = stats.t(freedom, loc=value, scale=0.01 * share**0.5)
    chance, worth = racing._ahead(value, share, told)
    assert chance == pytest.approx(law.sf(0))
    assert worth == pytest.approx(integrate.quad(lambda x: x * law.pdf(x), 0, np.inf)[0], rel=1e-6)


def test_a_difference_may_move_by_as_much_as_the_seeds_that_are_left():
    rng, spread_, seeds = np.random.default_rng(0), 0.01, 5
    one, other = [0.80], [0.81, 0.82, 0.81]
    found = apart(drawn(one), drawn(other), seeds=seeds, told=Spread(spread_**2, 1e6))
    means = []
    for held in (one, other):
        true = np.mean(held) + spread_ / len(held) ** 0.5 * rng.normal(size=200_000)  # what a flat prior leaves of the mean
        left = true[:, None] + spread_ * rng.normal(size=(200_000, seeds - len(held)))
        means.append((sum(held) + left.sum(1)) / seeds)
    ahead = means[0] - means[1]
    assert found.chance == pytest.approx((ahead > 0).mean(), abs=0.004)
    assert found.worth == pytest.approx(np.maximum(ahead, 0).mean(), rel=0.05)


def test_with_as_many_seeds_it_is_the_paired_test_but_for_the_pooled_spread():
    first, second = drawn([0.70, 0.72, 0.71]), drawn([0.80, 0.78, 0.82], seed=1)
    told, usual = apart(first, second, seeds=3, told=spread([first, second])), difference(first, second)
    assert told.value == pytest.approx(usual.value)
    assert told.below < 0.05
    assert told.interval[1] < 0
    assert (told.chance, told.worth) == (0.0, 0.0)


def test_seeds_that_agree_by_chance_tell_nothing():
    rng = np.random.default_rng(0)
    moved_R2 = 0.8 + rng.normal(0, 0.02, (2000, 2))  # each seed's answers move by themselves: 0.02 each
    told = spread([Drawn(np.array([0.8, 0.8]), moved_R2, 400)])
    assert told.variance**0.5 == pytest.approx(0.02, rel=0.05)
    assert told.freedom == 1 + racing.PRIOR
    far = spread([Drawn(np.array([0.7, 0.9]), moved_R2, 400)])
    mixed = racing.PRIOR * racing.ALIKE * 0.02**2
    assert far.variance == pytest.approx((0.02 + mixed) / (1 + racing.PRIOR), rel=0.005), (
        "the rows' word twice, as a seed may move all alike"
    )


def test_one_seed_of_each_says_nothing_of_others_and_few_rows_nothing_at_all():
    one, other = drawn([0.5]), drawn([0.9], seed=1)
    assert spread([one, other]) is None
    found = apart(one, other, seeds=3, told=None)
    assert (found.chance, found.worth) == (1.0, np.inf)
    assert found.below < 1e-6
    assert apart(drawn([0.5], rows=19), drawn([0.9], rows=19, seed=1), seeds=3, told=None).below == 1.0


def test_of_an_error_less_is_better():
    first, second = drawn([0.5]), drawn([0.4, 0.41, 0.39], seed=1)
    found = apart(first, second, seeds=3, told=Spread(0.01**2, 4), sign=-1.0)
    assert found.value == pytest.approx(-0.1)
    assert found.chance < 0.01
    assert following({"a": first, "b": second}, seeds=3, sign=-1.0) == ["a"]


def test_the_leader_gets_its_seeds_first_then_whoever_is_nearest():
    held = {"far": drawn([0.6]), "near": drawn([0.79, 0.78]), "leader": drawn([0.8, 0.81]), "done": drawn([0.7, 0.7, 0.7])}
    assert following(held, seeds=3) == ["leader", "near", "far"]
