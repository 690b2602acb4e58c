"""Lines: every row once, none too full, few of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rootstock.core.packing import best_fit, lines

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=80).map(np.array)


@settings(max_examples=60, deadline=None)
@given(lengths)
def test_each_row_is_in_one_line_and_no_line_is_too_full(lengths):
    most = int(lengths.max())
    for made in (lines(lengths, most), best_fit(lengths, most)):
        assert sorted(np.concatenate(made).tolist()) == list(range(len(lengths)))
        assert max(lengths[places].sum() for places in made) <= most
    assert np.concatenate(lines(lengths, most)).tolist() == list(range(len(lengths)))


@settings(max_examples=60, deadline=None)
@given(lengths, st.randoms(use_true_random=False))
def test_lines_of_lines_in_any_order_are_no_more(lengths, random):
    most = int(lengths.max())
    made = best_fit(lengths, most)
    random.shuffle(made)
    assert len(lines(lengths[np.concatenate(made)], most)) <= len(made)


def test_the_best_fit_fills_gaps_that_the_order_leaves():
    rows = np.array([3, 7, 2, 5, 5, 8])
    assert [rows[places].tolist() for places in lines(rows, 10)] == [[3, 7], [2, 5], [5], [8]]
    assert [rows[places].tolist() for places in best_fit(rows, 10)] == [[8, 2], [7, 3], [5, 5]]


def test_a_row_longer_than_a_line_and_no_row():
    assert [places.tolist() for places in lines(np.array([2, 12, 1]), 10)] == [[0], [1], [2]]
    assert lines(np.array([], dtype=int), 10) == []
    assert best_fit(np.array([], dtype=int), 10) == []
