"""Mixtures against their definition, worked out by hand on embedded tokens."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.loop.test_teacher import IDS, LABELS, TASK, student
from torch import nn

from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.recipe import TeacherSettings, TrainingSettings
from rootstock.loop import mixup
from rootstock.loop.loss import loss_for
from rootstock.tasks.text_classification import TextClassification
from rootstock.tasks.token_classification import TokenClassification

BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long(), "labels": LABELS}
MIXTURE = mixup.Mixture(torch.tensor([0.9, 0.4, 0.7]), torch.tensor([1, 2, 0]))


def by_hand(model):
    embedded, mask = model.bert.embeddings.word_embeddings(IDS), BATCH["attention_mask"]
    share = MIXTURE.share[:, None, None]
    mixed = share * embedded + (1 - share) * embedded[MIXTURE.partner]
    logits = model(inputs_embeds=mixed, attention_mask=torch.maximum(mask, mask[MIXTURE.partner])).logits
    own, other = (F.cross_entropy(logits, labels, reduction="none") for labels in (LABELS, LABELS[MIXTURE.partner]))
    return (MIXTURE.share * own + (1 - MIXTURE.share) * other).sum()


def test_tokens_and_losses_are_mixed_by_one_share(monkeypatch):
    model, same = student().train(), student().train()
    monkeypatch.setattr(mixup, "drawn", lambda *_: MIXTURE)
    found = loss_for(model, TASK, TrainingSettings(mixup=0.2), TeacherSettings())(model, BATCH)
    wanted = by_hand(same)
    torch.testing.assert_close(found.total, wanted)
    assert found.count == 3
    found.total.backward()
    wanted.backward()
    for own, other in zip(model.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    assert not model.bert.embeddings.word_embeddings._forward_hooks


def test_shares_are_of_the_beta_distribution_and_each_row_has_one_partner():
    torch.manual_seed(0)
    made = mixup.drawn(0.2, 4000, torch.device("cpu"))
    assert sorted(made.partner.tolist()) == list(range(4000))
    assert made.share.mean().item() == pytest.approx(0.5, abs=0.03)
    assert made.share.var().item() == pytest.approx(0.25 / (2 * 0.2 + 1), abs=0.01)  # of Beta(a, a): 1 / (4 (2a + 1))
    torch.manual_seed(0)
    assert torch.equal(mixup.drawn(0.2, 4000, torch.device("cpu")).share, made.share)


def test_nothing_is_mixed_outside_training():
    model = student().eval()
    found = loss_for(model, TASK, TrainingSettings(mixup=0.2), TeacherSettings())(model, BATCH)
    torch.testing.assert_close(found.total, TASK.loss(model, BATCH).total)


def test_of_images_the_patches_of_mixed_pixels():
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    model, pixels = transformers.ViTForImageClassification(config).eval(), torch.rand(3, 3, 8, 8)
    share = MIXTURE.share[:, None, None, None]
    with torch.no_grad(), mixup.mixed(model, MIXTURE):
        found = model(pixel_values=pixels).logits
    with torch.no_grad():
        wanted = model(pixel_values=share * pixels + (1 - share) * pixels[MIXTURE.partner]).logits
    torch.testing.assert_close(found, wanted)


def test_what_can_not_be_mixed_is_refused():
    on = TrainingSettings(mixup=0.2)
    with pytest.raises(RecipeError, match="of their parts"):
        mixup.check(student(), TokenClassification(), on)
    with pytest.raises(RecipeError, match="both change the embedded tokens"):
        mixup.check(student(), TASK, TrainingSettings(mixup=0.2, adversary=0.1))
    with pytest.raises(BaseError, match="no embeddings to mix"):
        mixup.check(nn.Linear(2, 2), TASK, on)
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 32, "n_positions": 32, "pad_token_id": 0}
    with pytest.raises(BaseError, match="left to right"):
        mixup.check(transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**shape)), TASK, on)


def test_embeddings_of_another_form_are_refused():
    config = transformers.SwinConfig(image_size=16, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2)
    model = transformers.SwinForImageClassification(config)
    with pytest.raises(BaseError, match="not one vector for each token"), mixup.mixed(model, MIXTURE):
        model(pixel_values=torch.rand(3, 3, 16, 16))


def test_a_run_of_mixtures_learns_and_repeats(adapt):
    training = {"epochs": 8, "rate": 3e-3, "batch_tokens": 64, "mixup": 0.2}
    assert adapt(training=training).metrics["metrics"]["accuracy"] > 0.9
    first, second = (adapt(name, training=training | {"steps": 4}) for name in ("a", "b"))
    assert first.metrics["metrics"] == second.metrics["metrics"]
    with pytest.raises(BaseError, match="no embeddings to mix"):
        adapt("c", method="feature-extraction", training={"epochs": 1, "mixup": 0.2})
    with pytest.raises(RecipeError, match="two answers"):
        adapt("d", task=TextClassification(r_drop=1.0), training={"epochs": 1, "mixup": 0.2, "dropout": 0.1})
