import itertools

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp

from rootstock.evaluation import paired
from rootstock.evaluation.paired import Answered, Drawn
from rootstock.tasks.text_classification import TextClassification


class Mean:
    """A task whose one figure is the mean of a column."""

    def metrics(self, columns, names=None):
        return {"mean": float(columns["values"].mean())}

    def tally(self, columns, names):
        return None


def answered(values):
    return Answered({"values": np.asarray(values, float), "answers": np.zeros(len(values))}, Mean())


def difference(first, second, resamples=1000):
    one, other = (paired.draw(each, "mean", seed=1, resamples=resamples) for each in (first, second))
    return paired.difference(one, other)


def test_with_one_seed_the_interval_is_that_of_the_mean_difference_over_rows():
    rng = np.random.default_rng(0)
    common, apart = rng.normal(0, 5, 400), rng.normal(0.3, 1, 400)
    found = difference([answered(common + apart)], [answered(common)])
    error = apart.std(ddof=1) / 20
    assert found.value == pytest.approx(apart.mean())
    assert found.interval == pytest.approx((apart.mean() - 1.96 * error, apart.mean() + 1.96 * error), abs=0.02)
    assert found.separable, "the rows' own spread, five times as large, is paired away"


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.90), (3, 0.925), (5, 0.935)])
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0], ids="seeds vary {} times as much as rows".format)
def test_an_interval_holds_the_truth_as_often_as_it_says(seeds, least, spread):
    rng, trials, rows = np.random.default_rng(seeds), 1500, 100
    weights_RN = rng.multinomial(rows, np.full(rows, 1 / rows), 200) / rows
    of_rows, of_seeds = rng.normal(0, 1, (trials, rows, 1)), rng.normal(0, spread / rows**0.5, (trials, 1, seeds))
    gains = 0.1 + of_rows + of_seeds + rng.normal(0, 0.5, (trials, rows, seeds))
    nothing = Drawn(np.zeros(seeds), np.zeros((200, seeds)), rows)
    found = [paired.difference(Drawn(gain.mean(0), weights_RN @ gain, rows), nothing).interval for gain in gains]
    assert least <= np.mean([low <= 0.1 <= high for low, high in found]) <= 0.97


@pytest.mark.parametrize(("rows", "differ"), [(100, 0.13), (100, 0.32), (300, 0.08), (1000, 0.05)])
def test_two_models_that_are_equally_good_are_called_different_in_at_most_five_and_a_half_of_a_hundred(rows, differ):
    """Exactly: over every number of rows on which one alone is right, with the variance that endless resamples would give."""
    alarms = 0.0
    for either in range(1, rows + 1):
        chance = binom.pmf(either, rows, differ)
        for first in range(either + 1) if chance > 1e-9 else ():
            gain = (2 * first - either) / rows
            spread = (either / rows - gain**2) / rows
            two = np.array([[gain - spread**0.5], [gain + spread**0.5]])
            found = paired.difference(Drawn(np.array([gain]), two, rows), Drawn(np.zeros(1), np.zeros((2, 1)), rows))
            alarms += chance * binom.pmf(first, either, 0.5) * found.separable
    assert 0.03 < alarms <= 0.055


def test_the_mean_of_figures_on_the_same_rows_is_drawn_with_them():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 80), rng.normal(0, 1, 80)
    parts = [paired.draw([answered(values)], "mean", seed=1, resamples=200) for values in (one, other)]
    whole = paired.draw([answered((one + other) / 2)], "mean", seed=1, resamples=200)
    found, wanted = (paired.estimate(each, within=None) for each in (paired.together(parts), whole))
    assert [found.value, *found.interval, found.error] == pytest.approx([wanted.value, *wanted.interval, wanted.error])


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
    class Undefined(Mean):
        def metrics(self, columns, names=None):
            return {}

    nothing = Answered({"answers": np.zeros(30)}, Undefined())
    assert difference([answered(np.ones(30))], [nothing]).value == 1.0


def test_the_level_of_one_way_has_the_interval_of_a_mean():
    values = np.random.default_rng(0).normal(0.3, 1, 400)
    found = paired.estimate(paired.draw([answered(values)], "mean", seed=1), within=None)
    error = values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert found.interval == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.02)


def test_chances_are_those_of_a_paired_t_test():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(0)
    apart = rng.normal(0.12, 1, 400)
    common = rng.normal(0, 5, 400)
    one, other = (paired.draw([answered(each)], "mean", seed=1, resamples=4000) for each in (common + apart, common))
    reference = ttest_1samp(apart, 0)
    assert paired.difference(one, other).p == pytest.approx(reference.pvalue, abs=0.006)
    assert paired.difference(other, one).below == pytest.approx(reference.pvalue / 2, abs=0.004)
    assert paired.difference(one, other).below == pytest.approx(1 - reference.pvalue / 2, abs=0.004)


def test_what_is_the_same_has_a_chance_of_one_and_what_never_overlaps_of_none():
    same = [answered(np.arange(50.0))]
    assert difference(same, same).p == 1.0
    assert difference([answered(np.ones(50))], [answered(np.zeros(50))]).p == 0.0


def test_on_few_rows_no_difference_is_told_whatever_it_is():
    right, wrong = ([answered(np.full(19, each))] for each in (1.0, 0.0))
    found = difference(wrong, right)
    assert (found.value, found.separable, found.p, found.below) == (-1.0, False, 1.0, 1.0)


def test_holm_multiplies_the_smallest_by_how_many_there_are():
    # By hand: 0.01 x 4, 0.02 x 3, 0.03 x 2 (not below the one before), 0.5 x 1; as R's p.adjust(c(.03, .01, .5, .02), "holm").
    assert paired.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert paired.holm([0.6, 0.9]) == [1.0, 1.0]
    assert paired.holm([]) == []


def test_paired_tests_of_ways_that_are_alike_alarm_as_often_as_they_say():
    rng, trials, rows = np.random.default_rng(3), 2000, 200
    weights_RN = rng.multinomial(rows, np.full(rows, 1 / rows), 300) / rows
    gains = rng.normal(0, 1, (trials, rows, 1)) + rng.normal(0, 0.3, (trials, rows, 3))
    nothing = Drawn(np.zeros(3), np.zeros((300, 3)), rows)
    found = [paired.difference(Drawn(gain.mean(0), weights_RN @ gain, rows), nothing) for gain in gains]
    assert np.mean([each.p < 0.05 for each in found]) <= 0.055 + 2 * (0.05 * 0.95 / trials) ** 0.5
    assert np.mean([each.below < 0.05 for each in found]) == pytest.approx(0.05, abs=0.02)


# Figures that are no means over rows: swaps


def classified(said, true):
    """Answers of a classifier of three classes that is sure of what it says."""
    return Answered({"scores": np.eye(3)[said] * 9.0, "answers": np.asarray(true)}, TextClassification(labels=("a", "b", "c")))


@pytest.fixture
def rivals():
    """Two that differ on seven of forty rows, one class being rare."""
    true = np.array([0] * 20 + [1] * 16 + [2] * 4)
    one, other = true.copy(), true.copy()
    one[[3, 22, 36]] = [1, 0, 1]
    other[[5, 6, 23, 37, 38]] = [1, 2, 0, 0, 1]
    other[22] = 0
    return classified(one, true), classified(other, true)


def test_swaps_that_are_counted_are_those_that_are_made(rivals, monkeypatch):
    drawn = [paired.draw([each], "macro_f1", seed=0, resamples=50) for each in rivals]
    counted = paired.difference(*drawn)
    monkeypatch.setattr(TextClassification, "tally", lambda self, columns, names: None)
    assert paired.difference(*drawn) == counted


@pytest.mark.parametrize("figure", ["accuracy", "macro_f1"])
def test_rows_of_equal_texts_tell_no_more_than_one(rivals, figure):
    """Every row three times over: as rows of their own they would seem to tell three times as much."""
    texts = np.random.default_rng(3).permutation(len(rivals[0].columns["answers"]))

    def thrice(each, **more):
        return Answered({name: np.repeat(values, 3, axis=0) for name, values in each.columns.items()} | more, each.task)

    single = paired.difference(*(paired.draw([each], figure, seed=0) for each in rivals))
    held = paired.difference(*(paired.draw([thrice(each, groups=np.repeat(texts, 3))], figure, seed=0) for each in rivals))
    alone = paired.difference(*(paired.draw([thrice(each)], figure, seed=0) for each in rivals))
    assert held.interval == pytest.approx(single.interval)
    assert held.p == pytest.approx(single.p, abs=0.05)
    assert alone.p < 0.7 * single.p


@pytest.mark.parametrize("figure", ["macro_f1", "matthews"])
def test_swaps_are_those_of_all_ways_to_swap(rivals, figure):
    drawn = [paired.draw([each], figure, seed=0, resamples=50) for each in rivals]
    found = paired.difference(*drawn)
    assert found.by == "swaps"
    apart_N = np.flatnonzero(rivals[0].columns["scores"].argmax(1) != rivals[1].columns["scores"].argmax(1))
    null = []
    for swaps in itertools.product([False, True], repeat=len(apart_N)):
        chosen = apart_N[list(swaps)]
        said = [each.columns["scores"].argmax(1).copy() for each in rivals]
        said[0][chosen], said[1][chosen] = said[1][chosen], said[0][chosen]
        null.append(np.subtract(*(classified(each, rivals[0].columns["answers"]).figure(figure) for each in said)))
    value = drawn[0].mean - drawn[1].mean
    assert found.p == pytest.approx(np.mean(np.abs(null) >= abs(value) - 1e-9), abs=0.05)
    assert found.below == pytest.approx(np.mean(np.array(null) <= value + 1e-9), abs=0.05)


def test_a_mean_over_rows_keeps_its_bootstrap(rivals):
    drawn = [paired.draw([each], "accuracy", seed=0, resamples=50) for each in rivals]
    assert paired.difference(*drawn).by == "bootstrap"


def test_answers_of_other_forms_are_not_swapped(rivals):
    one, other = rivals
    wide = Answered({**other.columns, "scores": np.pad(other.columns["scores"], ((0, 0), (0, 1)))}, other.task)
    drawn = [paired.draw([each], "macro_f1", seed=0, resamples=50) for each in (one, wide)]
    assert paired.difference(*drawn).by == "bootstrap"


def test_seeds_that_differ_are_added_to_the_swaps():
    apart_S = np.array([0.02, 0.05, 0.03])
    t_test = ttest_1samp(apart_S, 0.0)
    p, below = paired.chances(float(apart_S.mean()), np.zeros(10), apart_S)
    assert p == pytest.approx(t_test.pvalue)
    assert below == pytest.approx(1 - t_test.pvalue / 2)
    rng, null_W = np.random.default_rng(0), np.linspace(-0.03, 0.03, 200)
    error = apart_S.std(ddof=1) / 3**0.5
    moved = np.abs(rng.choice(null_W, 400_000) + error * rng.standard_t(2, 400_000))
    assert paired.chances(0.04, null_W, apart_S)[0] == pytest.approx((moved >= 0.04).mean(), abs=0.003)


def test_the_mean_of_what_was_measured_on_the_same_rows_takes_the_rows_as_shared():
    """Three seeds that are alike are no better known than one; seeds that part add their own spread."""
    one = paired.mean_of([0.8], [0.0004], 400, within=(0.0, 1.0))
    assert paired.mean_of([0.8] * 3, [0.0004] * 3, 400, within=(0.0, 1.0)).interval == pytest.approx(one.interval)
    assert one.interval == pytest.approx((0.758, 0.836), abs=2e-3)
    apart = paired.mean_of([0.7, 0.8, 0.9], [0.0004] * 3, 400, within=(0.0, 1.0))
    assert apart.error == pytest.approx((0.0004 + 0.01 / 3) ** 0.5)


def test_figures_of_a_class_over_seeds(rivals):
    found = paired.estimates(rivals, ["per_class/0/recall", "per_class/2/precision", "per_class/2/recall"], seed=0)
    assert found["per_class/0/recall"].value == pytest.approx((19 / 20 + 18 / 20) / 2)
    assert found["per_class/2/recall"].interval[1] - found["per_class/2/recall"].interval[0] > 0.5, "four rows are few"
    assert paired.estimates(rivals, ["no such figure"], seed=0) == {}
