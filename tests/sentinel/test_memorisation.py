"""The exact test of canaries and the figures of a membership audit, against closed forms and scikit-learn."""

from math import comb

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rootstock.core.errors import DataError
from rootstock.data import canaries
from rootstock.sentinel import memorisation


def test_planted_before_all_controls_has_one_chance_in_all_orders():
    found = memorisation.remembered(np.arange(4.0), np.arange(4.0, 30.0))
    assert found.p == pytest.approx(1 / comb(30, 4))
    np.testing.assert_allclose(found.exposure, np.log2(27))
    assert found.expected == pytest.approx(np.mean([np.log2(27 / rank) for rank in range(1, 28)]))


def test_a_model_that_remembers_nothing_has_uniform_p():
    rng = np.random.default_rng(0)
    p = [memorisation.remembered(draw[:6], draw[6:]).p for draw in rng.normal(size=(300, 40))]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_equal_losses_have_no_exposure_beyond_chance():
    found = memorisation.remembered(np.ones(3), np.ones(15))
    assert found.p > 0.4
    np.testing.assert_allclose(found.exposure, np.log2(16) - np.log2(8.5))


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    member = np.r_[np.ones(300), np.zeros(200)]
    score = rng.normal(size=500).round(1) + member
    found = memorisation.figures(score, member)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(member, score))
    threshold = np.sort(score[300:])[-3]  # two of 200 are 1 %
    assert found["recall"] == pytest.approx((score[:300] > threshold).mean())
    assert (score[300:] > threshold).mean() <= 0.01
    assert memorisation.figures(score[:300], member[:300]) == {}


def test_canaries_are_the_same_again_and_survive_the_file(tmp_path):
    made = canaries.made(5, 42, ["yes", "no"])
    assert made == canaries.made(5, 42, ["yes", "no"])
    assert made != canaries.made(5, 43, ["yes", "no"])
    assert sum(each.planted for each in made) == 5
    assert len({each.text for each in made}) == len(made) == 205
    (tmp_path / "list.csv").write_text(canaries.as_csv(made), encoding="utf-8")
    assert canaries.read(tmp_path / "list.csv") == made


@pytest.mark.parametrize(
    ("text", "said"),
    [("text\na\n", "no column 'planted'"), ("text,planted\na,yes\n", "planted is 'yes'"), ("text,planted\na,1\n", "lists 1 canaries")],
)
def test_what_is_no_list_of_canaries_is_refused(tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        canaries.read(tmp_path / "list.csv")
