"""Arms of the probe's proposal and of random freezes, and the judgement of what they reached."""

from itertools import combinations

import numpy as np
import pytest
from tests.conftest import make_base, rows_of, write_csv

import rootstock
from rootstock.core.errors import UsageError
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Drawn
from rootstock.methods.full import Full
from rootstock.verbs import freeze

PROPOSAL = {"blocks": 6, "frozen": (0, 1, 2, 3), "trained": (4, 5), "decided": True, "reason": ""}


def test_random_freezes_are_as_large_as_the_proposal_and_all_different():
    arms = freeze.freeze_arms(PROPOSAL, seed=0)
    assert [name for name, _ in arms] == ["full", "probe", *(f"random {i}" for i in range(1, 6))]
    assert {changes["method.name"] for _, changes in arms} == {"full"}
    full, own, *randoms = [tuple(changes["method.layers"]) for _, changes in arms]
    assert (full, own) == ((), (4, 5))
    assert len({*randoms, own}) == 6
    assert all(each in combinations(range(6), 2) for each in randoms)
    assert arms == freeze.freeze_arms(PROPOSAL, seed=0) != freeze.freeze_arms(PROPOSAL, seed=1)


def test_a_small_model_has_fewer_of_them():
    arms = freeze.freeze_arms(PROPOSAL | {"blocks": 3, "frozen": (0,), "trained": (1, 2)}, seed=0)
    assert sorted(changes["method.layers"] for _, changes in arms[2:]) == [[0, 1], [0, 2]]


def test_what_was_not_decided_is_not_compared():
    with pytest.raises(UsageError, match="proposes nothing to compare: flat"):
        freeze.freeze_arms(PROPOSAL | {"decided": False, "reason": "flat"}, seed=0)


def measured(value, rows=400, seeds=3):
    """An arm of this accuracy; equal rows are drawn for all."""
    right = np.random.default_rng(1).random((rows, seeds)) < value
    rng = np.random.default_rng(0)
    return Drawn(right.mean(0), np.array([right[rng.integers(0, rows, rows)].mean(0) for _ in range(200)]), rows)


def test_the_proposal_is_measured_against_the_mean_of_the_random_ones():
    drawn = {"full": measured(0.9), "probe": measured(0.85), "random 1": measured(0.6), "random 2": measured(0.7)}
    found = freeze.judged(drawn)
    means = [drawn[name].mean for name in ("probe", "random 1", "random 2")]
    assert found["over_random"]["difference"] == pytest.approx(means[0] - (means[1] + means[2]) / 2)
    assert (found["beaten"], found["over_random"]["separable"], found["over_full"]["better"]) == (2, True, False)
    assert "is better than the mean of 2 random freezes of its size: ahead of 2 of them" in found["verdict"]
    assert "not separable" in freeze.judged({"probe": measured(0.8), "random 1": measured(0.8)})["verdict"]


def test_where_less_is_better_the_signs_turn():
    found = freeze.judged({"probe": measured(0.5), "random 1": measured(0.8)}, less=True)
    assert found["over_random"]["better"] is True
    assert found["over_random"]["difference"] < 0
    assert found["proposal"] == measured(0.5).mean
    assert "is better than" in found["verdict"]


def test_nothing_to_judge():
    with pytest.raises(UsageError, match="were not measured"):
        freeze.judged({"full": measured(0.9), "random 1": measured(0.6)})


def test_what_the_probe_proposes_can_be_carried_out(tmp_path):
    base, rows = make_base(tmp_path / "base", num_hidden_layers=3), write_csv(tmp_path / "rows.csv", rows_of(80))
    told = freeze.propose(str(base), str(rows), Watch(), changes={}, limit=4)
    assert told["blocks"] == 3
    arms = freeze.freeze_arms(told | {"decided": True, "trained": [1]}, seed=0, count=1)
    for name, changes in arms[1:]:
        method = Full(layers=tuple(changes["method.layers"]))
        run = rootstock.adapt(rows, base=str(base), method=method, out=tmp_path / name, training={"epochs": 1, "rate": 1e-3})
        assert list(run.recipe.method["layers"]) == changes["method.layers"]
