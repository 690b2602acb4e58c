"""Losses against torch's own, class weights against their definition, label names from rows to answers."""

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rootstock.core.errors import DataError, RecipeError
from rootstock.core.rows import LABEL, ROW, TEXT
from rootstock.tasks.text_classification import TextClassification


def table(labels):
    return pa.table({TEXT: [f"text {i}" for i in range(len(labels))], LABEL: labels, ROW: list(range(1, len(labels) + 1))})


class Said(nn.Module):
    """A model that gives these logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, **_):
        return self


def test_one_class_a_row():
    task = TextClassification().fit(table(["b", "a", "b", "c"]), table(["a"]))
    assert task.labels == ("a", "b", "c")
    assert task.kind == "class"
    assert task.chosen_by == ("accuracy", "log_loss")
    assert task.head().options["id2label"] == {0: "a", 1: "b", 2: "c"}
    answers = task.answers(table(["c", "a"]))
    assert answers.tolist() == [2, 0]
    logits = torch.tensor([[0.1, 0.2, 3.0], [1.0, 0.0, -1.0]])
    batch = {"input_ids": torch.ones(2, 3, dtype=torch.long), "labels": torch.from_numpy(answers)}
    loss = task.loss(Said(logits), batch)
    assert loss.count == 2
    assert loss.total.item() == pytest.approx(F.cross_entropy(logits, batch["labels"], reduction="sum").item())
    columns = task.decode(Said(logits), batch)
    np.testing.assert_allclose(columns["scores"], logits.softmax(-1).numpy(), rtol=1e-6)
    assert task.readable(columns)["predicted"] == ["c", "a"]


def test_balanced_weights_are_inverse_to_the_share():
    task = TextClassification(class_weights="balanced").fit(table(["a"] * 6 + ["b"] * 2), table(["a"]))
    assert task.weights == pytest.approx((8 / (2 * 6), 8 / (2 * 2)))
    logits, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    loss = task.loss(Said(logits), {"input_ids": torch.ones(2, 1, dtype=torch.long), "labels": labels})
    assert loss.total.item() == pytest.approx(np.log(2) * sum(task.weights))


def test_labels_are_smoothed_for_one_class_a_row_only():
    with pytest.raises(RecipeError, match="label_smoothing"):
        TextClassification(label_smoothing=0.1).fit(table(["a|b", "b"]), table(["a"]))


def test_several_labels_a_row():
    task = TextClassification().fit(table(["a|b", "b", "c"]), table(["a"]))
    assert task.labels == ("a", "b", "c")
    assert task.kind == "classes"
    answers = task.answers(table(["c|a"]))
    assert answers.tolist() == [[1, 0, 1]]
    logits = torch.tensor([[2.0, -1.0, -0.5]])
    batch = {"input_ids": torch.ones(1, 3, dtype=torch.long), "labels": torch.from_numpy(answers)}
    loss = task.loss(Said(logits), batch)
    assert loss.count == 3
    assert loss.total.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, batch["labels"], reduction="sum").item())
    assert task.readable(task.decode(Said(logits), batch))["predicted"] == [["a"]]
    weighted = TextClassification(class_weights="balanced").fit(table(["a|b", "b", "c", "b"]), table(["a"]))
    assert weighted.weights == pytest.approx((3.0, 1 / 3, 3.0)), "rows without the label for each row with it"


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [(["a", "a"], ["a"], "one class only"), (["a", "b"], ["c"], "validation row 1 has the label 'c'")],
)
def test_labels_that_can_not_be_learned(train, validation, said):
    with pytest.raises(DataError, match=said):
        TextClassification().fit(table(train), table(validation))


def test_claims():
    def claims(labels):
        return TextClassification.claims(table(labels))

    assert claims(["good", "bad"]) == claims([["a"], ["a", "b"]]) == 1
    assert claims([0, 1, 1]) > claims([0.5, 1.25, 3.0])
