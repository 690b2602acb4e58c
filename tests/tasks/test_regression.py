"""Squared error in the labels' own spread while training, their unit in the weights after."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.tasks.test_text_classification import Said
from torch import nn

from rootstock.core.errors import BaseError, DataError
from rootstock.core.rows import LABEL, ROW, TEXT
from rootstock.tasks.regression import Regression


def table(labels):
    return pa.table({TEXT: ["x"] * len(labels), LABEL: labels, ROW: list(range(1, len(labels) + 1))})


def batch_of(labels):
    return {"input_ids": torch.ones(len(labels), 2, dtype=torch.long), "labels": torch.tensor(labels)}


def test_the_loss_is_in_standard_deviations_and_answers_in_the_labels_unit():
    task = Regression().fit(table([10.0, 20.0, 30.0, 40.0]), table([20.0]))
    center, scale = 25.0, np.std([10, 20, 30, 40])
    logits = torch.tensor([[0.5], [-1.0]])
    loss = task.loss(Said(logits), batch_of([30.0, 10.0]))
    expected = (0.5 - 5 / scale) ** 2 + (-1 + 15 / scale) ** 2
    assert loss.count == 2
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    columns = task.decode(Said(logits), batch_of([30.0, 10.0]))
    np.testing.assert_allclose(columns["scores"][:, 0], [center + 0.5 * scale, center - scale], rtol=1e-6)
    assert task.chosen_by == ("spearman", "root_mean_squared_error")


def test_settling_moves_the_unit_into_the_weights_and_answers_stay():
    task = Regression().fit(table([100.0, 101.0, 105.0]), table([103.0]))
    torch.manual_seed(0)

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense, self.out = nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, **_):
            self.logits = self.out(self.dense(torch.ones(2, 4)))
            return self

    model, batch = Head(), batch_of([100.0, 105.0])
    before = task.decode(model, batch)["scores"]
    settled = task.settle(model, ())
    np.testing.assert_allclose(settled.decode(model, batch)["scores"], before, rtol=1e-5)
    np.testing.assert_allclose(model().logits.detach().numpy(), before, rtol=1e-5)
    assert abs(before - 102).max() < 5


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1.0, 1.0], "every training label is 1"),
        (["a", "1"], "row 1: the label 'a' is no finite number"),
        ([1e9, 1e9 + 1], "spread by 0.5"),
    ],
)
def test_labels_that_can_not_be_learned(labels, said):
    with pytest.raises(DataError, match=said):
        Regression().fit(table(labels), table([1.0]))


def test_a_head_without_a_bias_is_refused():
    with pytest.raises(BaseError, match="no bias"):
        Regression().check(nn.Sequential(nn.Linear(2, 1, bias=False)))
