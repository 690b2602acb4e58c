"""What a pass of a base will take, told from a few batches of it."""

from types import SimpleNamespace

import numpy as np
import torch

from rootstock.run import features


def test_a_pass_costs_its_tokens_and_the_code_of_each_shape_once(monkeypatch):
    lengths = np.array([9, 9, 8, 8, 6, 6, 6, 4, 4, 4])
    batches = [np.array(rows) for rows in ([0, 1], [2, 3], [4, 5, 6], [7, 8, 9])]
    feed = SimpleNamespace(encoded=SimpleNamespace(lengths=lengths), in_order=lambda beside: batches)
    clock, seen = [0.0], set()

    def passed(rows):
        for batch in rows.in_order(1):
            shape = len(batch), lengths[batch].max()
            clock[0] += 0.5 * lengths[batch].sum() + (0.0 if shape in seen else 7.0)
            seen.add(shape)

    monkeypatch.setattr(features.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert features.tried(feed, passed) == 0.5 * lengths.sum() + 7.0 * 4
