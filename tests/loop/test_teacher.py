"""A student's loss against the definition of distillation, and what it sees of hidden states."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.recipe import TeacherSettings, TrainingSettings
from rootstock.core.rows import ALONE, TEACHER, TEACHER_HIDDEN
from rootstock.loop import teacher as distilling
from rootstock.loop.loss import loss_for
from rootstock.tasks.preference import Preference
from rootstock.tasks.regression import Regression
from rootstock.tasks.text_classification import TextClassification

LABELS, IDS = torch.tensor([0, 2, 1]), torch.tensor([[4, 5, 6, 7], [8, 9, 0, 0], [5, 4, 8, 0]])
WANTED = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
TASK = TextClassification(labels=("a", "b", "c"), several="no")


def student(**more):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 32}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 3, "initializer_range": 0.3}
    return transformers.BertForSequenceClassification(transformers.BertConfig(**shape, **none, **more))


def batch(**more):
    return {"input_ids": IDS, "attention_mask": (IDS > 0).long(), "labels": LABELS, TEACHER: WANTED, **more}


def taught(model, given, **settings):
    told = TeacherSettings(run="big", **settings)
    return loss_for(model, TASK, TrainingSettings(), told)(model, given)


def test_the_loss_is_the_papers():
    model, temperature, weight = student(), 3.0, 0.7
    found = taught(model, batch(), temperature=temperature, weight=weight)
    logits = model(input_ids=IDS, attention_mask=(IDS > 0).long()).logits
    soft = F.kl_div((logits / temperature).log_softmax(-1), (WANTED / temperature).softmax(-1), reduction="sum")
    wanted = weight * temperature**2 * soft + (1 - weight) * F.cross_entropy(logits, LABELS, reduction="sum")
    torch.testing.assert_close(found.total, wanted)
    assert found.count == 3


def test_a_teacher_that_answers_alike_teaches_nothing():
    model = student()
    same = model(input_ids=IDS, attention_mask=(IDS > 0).long()).logits.detach()
    found = taught(model, batch(**{TEACHER: same}), weight=1.0)
    found.total.backward()
    assert found.total.item() == pytest.approx(0, abs=1e-6)
    assert all(p.grad is None or p.grad.abs().max() < 1e-5 for p in model.parameters())


def test_rows_without_a_label_are_learned_from_the_teacher_alone():
    model, alone = student(), torch.tensor([False, True, True])
    found = taught(model, batch(**{ALONE: alone}), weight=0.25, temperature=1.0)
    logits = model(input_ids=IDS, attention_mask=(IDS > 0).long()).logits
    soft = F.kl_div(logits.log_softmax(-1), WANTED.softmax(-1), reduction="none").sum(-1)
    hard = F.cross_entropy(logits, LABELS, reduction="none")
    torch.testing.assert_close(found.total, 0.25 * soft[0] + 0.75 * hard[0] + soft[1] + soft[2])
    other = taught(model, batch(**{ALONE: alone, "labels": torch.tensor([0, 0, 0])}), weight=0.25, temperature=1.0)
    torch.testing.assert_close(other.total, found.total), "their labels say nothing"


def test_hidden_states_are_means_over_real_tokens_mapped_to_the_teachers_width():
    model, said = student(), torch.randn(3, 2, 24)
    model.add_module(distilling.MAPS, distilling.Maps([1, 2], 16, 24))
    plain = taught(model, batch(**{TEACHER_HIDDEN: said}), hidden=0.5)
    del model.teacher_maps
    without = taught(model, batch(), hidden=0.5)
    model.add_module(distilling.MAPS, distilling.Maps([1, 2], 16, 24))
    found = taught(model, batch(**{TEACHER_HIDDEN: said}), hidden=0.5)
    assert not model.bert.encoder.layer[0]._forward_hooks
    assert not model._forward_pre_hooks
    states = model(input_ids=IDS, attention_mask=(IDS > 0).long(), output_hidden_states=True).hidden_states[1:]
    real = (IDS > 0).float()[..., None]
    means = [(state * real).sum(1) / real.sum(1) for state in states]
    mapped = torch.stack([mean @ weight for mean, weight in zip(means, model.teacher_maps.maps_LHK, strict=True)], 1)
    torch.testing.assert_close(found.total, without.total + 0.5 * (mapped - said).square().mean((1, 2)).sum())
    assert plain.total > without.total
    found.total.backward()
    assert model.teacher_maps.maps_LHK.grad.abs().sum() > 0, "the map learns"


def test_a_number_is_compared_in_standard_deviations():
    task = Regression()._measured_in(10.0, 4.0)
    found = task.taught(torch.tensor([[0.5], [0.0]]), torch.tensor([[12.0], [14.0]]), 7.0)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0]))


def test_blocks_are_matched_by_their_share_of_the_depth():
    assert distilling.matched(2, 6, ()) == [(1, 3), (2, 6)]
    assert distilling.matched(6, 2, ()) == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2)]
    assert distilling.matched(2, 6, [(2, 5)]) == [(2, 5)]
    with pytest.raises(BaseError, match="block 7 of the teacher"):
        distilling.matched(2, 6, [(1, 7)])


def test_what_has_no_scores_and_what_asks_twice_is_refused():
    with pytest.raises(RecipeError, match=r"teacher.run is set, and the loss of this task is not of scores"):
        loss_for(nn.Linear(1, 1), Preference(), TrainingSettings(), TeacherSettings(run="big"))
    with pytest.raises(RecipeError, match="two answers to the same row"):
        loss_for(nn.Linear(1, 1), TASK.model_copy(update={"r_drop": 1.0}), TrainingSettings(), TeacherSettings(run="big"))


def test_without_a_teacher_it_is_the_tasks_own_loss():
    model = student()
    assert loss_for(model, TASK, TrainingSettings(), TeacherSettings()) == TASK.loss
    assert np.isfinite(TASK.loss(model, batch()).total.item()), "what a teacher says is no input of the model"
