"""The linear probe against scikit-learn, on vectors that hold the label and on vectors that hold nothing."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rootstock.evaluation.probes import linear, pos
from rootstock.evaluation.probes.layers import Measured, split_at, table


def part(vectors, labels, groups=None):
    return linear.Part(
        torch.as_tensor(vectors, dtype=torch.float32), np.asarray(labels), np.arange(len(labels)) if groups is None else groups
    )


def drawn(rows, held, seed, classes=5, width=24):
    """Vectors with the label in them (held) or not."""
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, classes, rows)
    vectors = draws.normal(size=(rows, width))
    if held:
        vectors[:, :classes] += 6 * np.eye(classes)[labels]
    return part(vectors, labels)


def test_a_label_that_lies_in_the_vectors_is_read_and_one_that_does_not_is_chance():
    for held, low, high in ((True, 0.98, 1.0), (False, 0.12, 0.28)):
        train, dev, test = (drawn(rows, held, seed) for seed, rows in enumerate((600, 300, 600)))
        probe = linear.fit(train, dev, 5)
        assert low <= probe.right(test).mean() <= high
        assert probe.accuracy == pytest.approx(probe.right(dev).mean())


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_the_solution_is_scikit_learns(l2):
    made = drawn(400, True, 3)
    weights, bias = linear._solve(made.vectors, torch.from_numpy(made.labels), (torch.zeros(5, 24), torch.zeros(5)), l2)
    reference = LogisticRegression(C=1 / (400 * l2), tol=1e-8, max_iter=2000).fit(made.vectors.numpy(), made.labels)
    ours = torch.softmax(made.vectors @ weights.T + bias, 1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(made.vectors.numpy()), atol=5e-3)


def test_noise_is_held_back_and_signal_is_not():
    held = [linear.fit(drawn(300, each, 0), drawn(300, each, 1), 5).l2 for each in (False, True)]
    assert held[0] == linear.L2[0] > held[1]


def test_intervals_resample_groups_not_rows():
    right = np.repeat(np.random.default_rng(0).random(60) > 0.5, 20)  # the rows of a group are right together
    wide, narrow = (
        linear.shares({"accuracy": right}, groups, seed=0)["accuracy"]["interval"]
        for groups in (np.repeat(np.arange(60), 20), np.arange(1200))
    )
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])
    # the closed form of a share of independent rows
    share = right.mean()
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 1200), rel=0.15)


def test_a_difference_is_taken_on_the_same_resamples():
    first = np.random.default_rng(0).random(500) > 0.3
    found = linear.shares({"a": first, "b": first}, np.arange(500), seed=0, less=("gain", "a", "b"))
    assert found["gain"] == {"value": 0.0, "interval": [0.0, 0.0]}


def test_control_gives_each_word_one_tag_by_its_form_alone():
    words = ["root", "graft", "root", "shoot", "graft"] * 50
    labels = pos.control(words, np.array([0, 0, 0, 1]), seed=1)
    assert len({(word, tag) for word, tag in zip(words, labels, strict=True)}) == 3
    types = [f"w{i}" for i in range(4000)]
    assert pos.control(types, np.array([0, 0, 0, 1]), seed=1).mean() == pytest.approx(0.25, abs=0.03)
    assert (pos.control(types, np.array([0, 1]), seed=1) != pos.control(types, np.array([0, 1]), seed=2)).any()


def test_parts_end_where_they_end():
    found = split_at(np.array([0, 1, 3, 4, 5, 8, 9]), np.array([4, 8, 10]))
    assert {name: rows.tolist() for name, rows in found.items()} == {"train": [0, 1, 3], "dev": [4, 5], "test": [8, 9]}


def test_the_best_layer_is_chosen_on_dev_rows_and_compared_with_random_weights():
    right = [np.array([True] * 80 + [False] * 20), np.array([True] * 60 + [False] * 40)]
    trained = Measured([{"dev": {"loss": 0.9}}, {"dev": {"loss": 0.7}}], right, np.arange(100), {})
    random = Measured([{"dev": {"loss": 0.4}}, {"dev": {"loss": 0.5}}], [right[1], right[0]], np.arange(100), {})
    found = table(trained, random, seed=0)
    assert (found["best"], found["random"]["best"]) == (1, 0)
    assert found["gain"]["value"] == 0.0
    assert "gain" not in table(trained, None, seed=0)
