"""Shares of tokens against a closed form; tests/serving/test_studio.py has them on trained runs."""

import pytest
import torch
from torch import nn

from rootstock.core.errors import UsageError
from rootstock.run.explain import _Line


class Squared(nn.Module):
    """Sums (w·e)² over the tokens: each share is (w·e)² of the text less that of the silent one, exactly."""

    def __init__(self, reads=1):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.reads = nn.Embedding(9, 5), reads
        self.w = torch.randn(5)

    def get_input_embeddings(self):
        return self.layer

    def forward(self, ids):
        for _ in range(self.reads):
            found = self.layer(ids)
        return (found @ self.w).square().sum(1)


def test_the_shares_are_those_of_the_closed_form():
    model, ids = Squared().requires_grad_(False), torch.tensor([[1, 2, 3, 4]])
    silent = torch.tensor([1, 8, 8, 8])
    values, (start, end), points = _Line(model, {"input_ids": ids}, silent).shares(lambda batch: model(batch["input_ids"]))
    with torch.no_grad():
        wanted = (model.layer(ids[0]) @ model.w).square() - (model.layer(silent) @ model.w).square()
    assert torch.tensor(values).allclose(wanted.double(), atol=1e-5)
    assert end - start == pytest.approx(float(wanted.sum()), abs=1e-5)
    assert points == 16


@pytest.mark.parametrize("reads", [0, 2])
def test_a_model_that_does_not_read_its_embeddings_once_is_refused(reads):
    model = Squared(reads)
    if not reads:
        model.forward = lambda ids: ids.float().sum(1)
    with pytest.raises(UsageError, match=f"{reads} times"):
        _Line(model, {"input_ids": torch.tensor([[1, 2]])}, torch.tensor([8, 8])).shares(lambda batch: model.forward(batch["input_ids"]))
