"""Random numbers of a row's own: the same however batches are cut, new in each epoch."""

import numpy as np

from rootstock.core.seed import HELD_OUT, Draw, stream


def test_a_row_has_the_same_numbers_in_any_batch_and_width():
    draw = Draw(7, 3)
    whole = draw.uniform("mask", np.arange(10), 16)
    np.testing.assert_array_equal(draw.uniform("mask", np.array([8, 2]), 5), whole[[8, 2], :5])


def test_seed_epoch_and_purpose_each_change_all_numbers():
    rows = np.arange(50)
    made = [
        Draw(1, 0).uniform("a", rows, 20),
        Draw(2, 0).uniform("a", rows, 20),
        Draw(1, 1).uniform("a", rows, 20),
        Draw(1, 0).uniform("b", rows, 20),
        Draw(1, 0, 1).uniform("a", rows, 20),
        Draw(1, 0, 2).uniform("a", rows, 20),
    ]
    assert all(not (one == other).any() for i, one in enumerate(made) for other in made[:i])
    assert not (Draw(1, HELD_OUT).uniform("a", rows, 20) == made[0]).any()


def test_the_numbers_are_uniform_and_independent_of_their_neighbours():
    numbers = Draw(5, 0).uniform("a", np.arange(2000), 100)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 43.8  # chi-square with 19 degrees of freedom, p = 0.001
    for one, other in ((numbers[:, 1:], numbers[:, :-1]), (numbers[1:], numbers[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01


def test_generators_of_rows_repeat_and_differ():
    draw = Draw(5, 0)
    assert draw.generator("a", 3).integers(0, 2**60) == draw.generator("a", 3).integers(0, 2**60)
    others = [draw.generator("a", 4), Draw(5, 0, 1).generator("a", 3), Draw(5, 0, 3).generator("a", 1), Draw(5, 0, 1).generator("a", 1)]
    made = [each.integers(0, 2**60) for each in (draw.generator("a", 3), *others)]
    assert len(set(made)) == len(made)


def test_the_first_round_has_the_numbers_that_there_were_before_there_were_rounds():
    assert Draw(7, 3).generator("a", 2).integers(100) == stream(7, "a", 3, 2).integers(100)
    np.testing.assert_allclose(
        Draw(7, 3).uniform("mask", np.arange(2), 2), [[0.7059237664562928, 0.6054312118277255], [0.3044860293384707, 0.8793026711613146]]
    )
