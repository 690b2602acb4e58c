"""A task of one's own in each layer: figures against closed forms, the control task, and where freezing may end."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from rootstock.evaluation.frozen import Labels
from rootstock.evaluation.probes import own

NOTHING = lambda done, total: None  # noqa: E731


def labelled(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    return Labels(rng.integers(0, 2, rows), np.arange(rows), 2, 0), rng


def layers(labels, rng, strengths):
    """Vectors [N, 6] of layers that hold the label so strongly."""
    return [rng.normal(size=(len(labels.answers), 6)) + strength * (2 * labels.answers[:, None] - 1) for strength in strengths]


def test_figures_are_shares_and_scikit_learns_r2():
    labels, rng = labelled()
    scores = rng.random((300, 2))
    judge = own.Judge(labels)
    found = judge.figure(scores, labels.answers)
    share = (scores.argmax(1) == labels.answers).mean()
    assert found.value == share
    low, high = found.told["interval"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 300), rel=0.15)
    numbers = rng.normal(size=300)
    said = numbers + rng.normal(size=300)
    of_numbers = own.Judge(Labels(numbers, np.arange(300), 0, 0)).figure(said[:, None], numbers)
    assert of_numbers.value == pytest.approx(r2_score(numbers, said))
    assert own.simplest(Labels(numbers, np.arange(300), 0, 0)).value == pytest.approx(0.0, abs=1e-12)


def test_rows_of_one_text_are_drawn_together():
    labels, rng = labelled()
    once = rng.random((100, 2))
    groups = np.repeat(np.arange(100), 3)
    answers = np.repeat(labels.answers[:100], 3)
    wide = own.Judge(Labels(answers, groups, 2, 0)).figure(np.repeat(once, 3, axis=0), answers).told["interval"]
    narrow = own.Judge(Labels(answers, np.arange(300), 2, 0)).figure(np.repeat(once, 3, axis=0), answers).told["interval"]
    assert wide[1] - wide[0] == pytest.approx(np.sqrt(3) * (narrow[1] - narrow[0]), rel=0.2)


def test_the_layer_that_holds_the_task_is_the_best_and_the_control_task_stays_behind():
    labels, rng = labelled()
    words = [f"word{number % 50}" for number in range(300)]
    found = own.measure(layers(labels, rng, [0.0, 0.6, 0.0]), labels, words, NOTHING)
    assert found.best == 1
    rows = found.rows
    assert rows[1]["selectivity"]["value"] == pytest.approx(rows[1]["score"]["value"] - rows[1]["control"]["value"])
    assert rows[1]["selectivity"]["interval"][0] > 0
    assert rows[1]["below"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert rows[0]["below"]["interval"][0] > 0


def test_words_that_lie_in_the_vectors_are_learned_by_heart():
    labels, rng = labelled(600)
    word = rng.integers(0, 8, 600)
    found = own.measure([np.eye(8)[word]], labels, [f"word{each}" for each in word], NOTHING)
    assert found.control[0].value > 0.99 > found.task[0].value
    assert found.rows[0]["selectivity"]["value"] < 0


def proposal(strengths, blocks=None, rows=300):
    labels, rng = labelled(rows)
    found = own.measure(layers(labels, rng, strengths), labels, ["a"] * rows, NOTHING)
    return own.freeze(found, own.simplest(labels), len(strengths) - 1 if blocks is None else blocks)


def test_freezing_ends_at_the_lowest_layer_that_is_not_below_the_best():
    found = proposal([0.0, 0.1, 0.7, 0.7, 0.7])
    assert (found.frozen, found.trained, found.decided) == ((0, 1), (2, 3), True)
    assert "layer 2" in found.reason
    assert proposal([0.6, 0.1, 0.8, 0.8, 0.1]).frozen == (0, 1)  # what the embeddings hold and a block loses is not there yet
    assert proposal([0.0, 0.7, 0.0]).frozen == (0,)  # a layer that forgets it again does not move the border
    assert proposal([0.0, 0.1, 0.7, 0.7], blocks=6).trained == (2, 3, 4, 5)  # a decoder above it learns


@pytest.mark.parametrize(
    ("strengths", "said"),
    [
        ([0.0, 0.0, 0.0], "not above the simplest answer"),
        ([0.7, 0.7, 0.7], "these rows tell no layer"),
        ([0.0, 0.2, 0.8], "rises up to the last"),
    ],
)
def test_where_rows_do_not_tell_nothing_is_frozen(strengths, said):
    found = proposal(strengths)
    assert not found.decided
    assert said in found.reason
    assert (found.frozen, found.trained) == ((), (0, 1))
