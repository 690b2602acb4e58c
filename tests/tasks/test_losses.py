"""Focal loss, label smoothing and R-Drop against their definitions."""

import pytest
import torch
import torch.nn.functional as F

from rootstock.core.errors import BaseError
from rootstock.tasks import _losses
from rootstock.tasks.text_classification import TextClassification

LOGITS, AGAIN = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1, 1, 0])
HOT = F.one_hot(LABELS, 3).float()


def test_without_focus_it_is_cross_entropy():
    found = _losses.categorical(LOGITS, LABELS, None, focal=0, smoothing=0).sum()
    torch.testing.assert_close(found, F.cross_entropy(LOGITS, LABELS, reduction="sum"))
    wanted = F.binary_cross_entropy_with_logits(LOGITS, HOT, reduction="none").sum(1)
    torch.testing.assert_close(_losses.binary(LOGITS, HOT, None, focal=0), wanted)


def test_focal_loss_counts_what_is_known_less():
    known = LOGITS.softmax(-1)[range(5), LABELS]
    torch.testing.assert_close(_losses.categorical(LOGITS, LABELS, None, focal=2, smoothing=0), -((1 - known) ** 2) * known.log())
    yes = LOGITS.sigmoid()
    known = torch.where(HOT > 0, yes, 1 - yes)
    torch.testing.assert_close(_losses.binary(LOGITS, HOT, None, focal=2), (-((1 - known) ** 2) * known.log()).sum(1))


def test_smoothing_spreads_a_share_over_all_classes():
    wanted = -((0.9 * HOT + 0.1 / 3) * LOGITS.log_softmax(-1)).sum()
    torch.testing.assert_close(_losses.categorical(LOGITS, LABELS, None, focal=0, smoothing=0.1).sum(), wanted)


def test_a_teachers_answers_are_learned_at_a_temperature():
    found = _losses.soft(LOGITS, AGAIN, 2.0)
    wanted = F.kl_div((LOGITS / 2).log_softmax(-1), (AGAIN / 2).log_softmax(-1), log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(found, 4 * wanted)
    told = torch.distributions.Bernoulli(logits=AGAIN / 3), torch.distributions.Bernoulli(logits=LOGITS / 3)
    torch.testing.assert_close(_losses.soft_binary(LOGITS, AGAIN, 3.0), 9 * torch.distributions.kl_divergence(*told).sum(1))


def test_at_high_temperature_it_is_half_the_squared_distance_of_centred_logits():
    """Hinton et al. 2015, section 2.1."""
    apart = (LOGITS - LOGITS.mean(-1, keepdim=True)) - (AGAIN - AGAIN.mean(-1, keepdim=True))
    torch.testing.assert_close(
        _losses.soft(LOGITS.double(), AGAIN.double(), 1e3), (apart.double() ** 2).sum(-1) / (2 * 3), rtol=1e-2, atol=1e-4
    )


def test_what_the_teacher_did_not_read_is_not_asked():
    logits, wanted = LOGITS.clone().requires_grad_(), AGAIN.clone()
    wanted[1] = torch.nan
    found = _losses.soft(logits, wanted, 1.0)
    found.sum().backward()
    assert found[1] == 0
    assert not logits.grad[1].any()
    assert logits.grad.isfinite().all()


def test_the_distance_of_two_answers_is_the_mean_of_both_divergences():
    p, q = LOGITS.log_softmax(-1), AGAIN.log_softmax(-1)
    both = F.kl_div(q, p, log_target=True, reduction="sum") + F.kl_div(p, q, log_target=True, reduction="sum")
    torch.testing.assert_close(_losses.apart(LOGITS, AGAIN, False), both / 2)
    p, q = (torch.distributions.Bernoulli(logits=each) for each in (LOGITS, AGAIN))
    both = torch.distributions.kl_divergence(p, q).sum() + torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(_losses.apart(LOGITS, AGAIN, True), both / 2)


def test_r_drop_needs_dropout_and_learns(adapt):
    training, task = {"epochs": 5, "rate": 3e-3, "batch_tokens": 64}, TextClassification(r_drop=1.0)
    with pytest.raises(BaseError, match="nothing is dropped out"):
        adapt("none", task=task, training=training | {"dropout": 0.0})
    assert adapt("some", task=task, training=training | {"dropout": 0.1}).metrics["metrics"]["accuracy"] > 0.9
