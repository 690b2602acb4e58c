"""A loss over a whole update, in parts and on several cores: the gradients of one pass over all of it."""

import pytest
import torch
from torch import nn

from rootstock.core.task import Loss
from rootstock.loop.coupled import coupled_gradients
from rootstock.loop.crew import Crew
from rootstock.loop.precision import Weights


class Pairs:
    """Every row against every other, with a temperature that learns outside the vectors."""

    @staticmethod
    def embed(model, batch):
        return model[0](batch["x"])

    @staticmethod
    def couple(model, vectors, labels):
        return Loss((model[1](vectors) @ vectors.T).softmax(-1).diagonal().log().sum().neg(), len(vectors))

    def loss(self, model, batch):
        return self.couple(model, self.embed(model, batch), None)


def made():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4, bias=False))


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("parts", [1, 2])
def test_parts_and_members_give_the_gradients_of_one_pass(members, parts):
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    expected, model, task = made(), made(), Pairs()
    whole = task.loss(expected, {"x": rows})
    whole.total.backward()

    def batches(shard):
        return [{"x": rows[each]} for each in shard.chunk(parts)]

    with Crew(model, members) as crew:
        passed = coupled_gradients(crew, task, list(torch.arange(8).chunk(members)), batches)
        weights = Weights(model, torch.float32)
        weights.pull(weights.names, [dict(each.named_parameters()) for each in crew.models])
    assert passed.items == 8
    assert passed.loss == pytest.approx(whole.total.item(), rel=1e-5)
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-4, atol=1e-6)
        assert wanted.grad.abs().sum() > 0
