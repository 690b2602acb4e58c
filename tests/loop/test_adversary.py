"""The attack against its definition, worked out by hand with autograd."""

import pytest
import torch
from tests import tiny_models
from torch import nn
from transformers import BartConfig, BartForConditionalGeneration

from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.task import Loss
from rootstock.loop.adversary import attackable, attacked
from rootstock.tasks.contrastive_text import ContrastiveText
from rootstock.tasks.text_classification import TextClassification


class Model(nn.Module):
    """Scores from the squared sum of embedded tokens: not linear, so that an attack changes gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(7, 5), nn.Linear(5, 1)

    def get_input_embeddings(self):
        return self.table

    def forward(self, ids):
        return self.above(self.table(ids))

    def above(self, embedded):
        return self.out(embedded.sum(1) ** 2)


def bart():
    torch.manual_seed(0)
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in (("layers", 1), ("attention_heads", 2))}
    return BartForConditionalGeneration(BartConfig(vocab_size=32, d_model=16, dropout=0.0, max_position_embeddings=16, **shape)).eval()


IDS = torch.tensor([[1, 2, 3], [4, 5, 1]])


def by_hand(model, epsilon):
    embedded = model.table(IDS).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.above(embedded).sum(), embedded)
    reach = epsilon * embedded.detach().flatten(1).norm(dim=1)
    moved = reach[:, None, None] * gradient / gradient.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), reach)
    total = (model(IDS).sum() + model.above(model.table(IDS) + moved).sum()) / 2
    return torch.autograd.grad(total, list(model.parameters()))


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_are_those_of_the_mean_of_both_losses(frozen):
    model, same = Model(), Model()
    model.table.weight.requires_grad_(not frozen)
    found = attacked(model, lambda: Loss(model(IDS).sum(), 2), lambda total: total.backward(), 0.3)
    assert found.total.item() == pytest.approx(same(IDS).sum().item())
    wanted = by_hand(same, 0.3)
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradient)
    assert not model.table._forward_hooks


def test_padding_changes_no_row():
    model = Model()
    mask = torch.tensor([[1.0, 1, 1, 0, 0]])[..., None]

    def gradient(run):
        model.zero_grad()
        attacked(model, lambda: Loss(run().sum(), 1), lambda total: total.backward(), 0.3)
        return model.out.weight.grad

    padded = torch.tensor([[1, 2, 3, 0, 0]])
    wanted = gradient(lambda: model(IDS[:1])).clone()
    torch.testing.assert_close(gradient(lambda: model.out((model.table(padded) * mask).sum(1) ** 2)), wanted)


def test_each_pass_of_a_loss_is_attacked_by_its_own_gradient():
    once, parted = Model(), Model()
    attacked(once, lambda: Loss(once(IDS).sum(), 2), lambda total: total.backward(), 0.3)
    attacked(parted, lambda: Loss(parted(IDS[:1]).sum() + parted(IDS[1:, :]).sum(), 2), lambda total: total.backward(), 0.3)
    torch.testing.assert_close(parted.out.weight.grad, once.out.weight.grad)


@pytest.mark.parametrize("make", [tiny_models.seq2seq_model, bart])
def test_of_encoder_and_decoder_the_encoder_is_attacked(make):
    model = make()
    given = {"input_ids": torch.tensor([[5, 6, 7]]), "labels": torch.tensor([[8, 9]])}
    model(**given).loss.backward()
    plain = {name: each.grad.clone() for name, each in model.named_parameters()}
    model.zero_grad()
    attacked(model, lambda: Loss(model(**given).loss, 1), lambda total: total.backward(), 0.3)
    assert any(not torch.equal(each.grad, plain[name]) for name, each in model.named_parameters())


def test_what_has_no_embeddings_and_what_couples_rows_is_refused():
    with pytest.raises(BaseError, match="no embeddings to attack"):
        attackable(nn.Linear(2, 2), TextClassification())
    with pytest.raises(RecipeError, match="couples the rows"):
        attackable(Model(), ContrastiveText())


def test_a_run_under_attack_learns_and_repeats(adapt):
    training = {"epochs": 6, "rate": 3e-3, "batch_tokens": 64, "adversary": 0.02}
    assert adapt(training=training).metrics["metrics"]["accuracy"] > 0.9
    first, second = (adapt(name, training=training | {"steps": 4}) for name in ("a", "b"))
    assert first.metrics["metrics"] == second.metrics["metrics"]
    with pytest.raises(BaseError, match="no embeddings to attack"):
        adapt("c", method="feature-extraction", training={"epochs": 1, "adversary": 0.5})
