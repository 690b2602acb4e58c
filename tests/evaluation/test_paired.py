import numpy as np
import pytest

from rootstock.evaluation import paired
from rootstock.evaluation.paired import Answered


class Mean:
    """A task whose one figure is the mean of a column."""

    def metrics(self, columns, names=None):
        return {"mean": float(columns["values"].mean())}


def answered(values):
    return Answered({"values": np.asarray(values, float), "answers": np.zeros(len(values))}, Mean())


def difference(first, second, resamples=1000):
    one, other = (paired.draw(each, "mean", seed=1, resamples=resamples) for each in (first, second))
    return paired.difference(one, other, seed=2)


def test_with_one_seed_the_interval_is_that_of_the_mean_difference_over_rows():
    rng = np.random.default_rng(0)
    common, apart = rng.normal(0, 5, 400), rng.normal(0.3, 1, 400)
    found = difference([answered(common + apart)], [answered(common)])
    error = apart.std(ddof=1) / 20
    assert found.value == pytest.approx(apart.mean())
    assert found.interval == pytest.approx((apart.mean() - 1.96 * error, apart.mean() + 1.96 * error), abs=0.02)
    assert found.separable, "the rows' own spread, five times as large, is paired away"


def test_seeds_that_disagree_widen_it_by_as_much_as_other_seeds_would():
    gains = np.array([-1.0, 0.5, 2.0])
    found = difference([answered(np.full(50, gain)) for gain in gains], [answered(np.zeros(50))] * 3, 4000)
    # Of 27 draws of three seeds one holds the lowest alone, more than 2.5 %: the ends are the lowest and highest, widened.
    ends = gains.mean() + 1.5**0.5 * (gains[[0, 2]] - gains.mean())
    assert found.interval == pytest.approx(ends)


def test_many_seeds_give_the_interval_of_their_mean():
    gains = np.random.default_rng(0).normal(0, 1, 25)
    found = difference([answered(np.full(30, gain)) for gain in gains], [answered(np.zeros(30))] * 25)
    half = (found.interval[1] - found.interval[0]) / 2
    assert half == pytest.approx(1.96 * gains.std(ddof=1) / 5, rel=0.1)


def test_what_is_alike_or_rests_on_few_rows_is_not_separable():
    same = [answered(np.arange(50.0))] * 2
    assert difference(same, same).interval == (0.0, 0.0)
    assert not difference(same, same).separable
    few = difference([answered(np.ones(10))], [answered(np.zeros(10))])
    assert (few.value, few.separable) == (1.0, False)


def test_a_figure_that_is_not_defined_counts_as_zero():
    class Undefined:
        def metrics(self, columns, names=None):
            return {}

    nothing = Answered({"answers": np.zeros(30)}, Undefined())
    assert difference([answered(np.ones(30))], [nothing]).value == 1.0
