"""Several models over one body: each answers as it did, and the body is there once."""

import copy

import pytest
import torch
import transformers
from torch import nn
from transformers import BertForSequenceClassification, BertForTokenClassification

from rootstock.core.errors import BaseError
from rootstock.core.heads import Heads, head_of, states
from rootstock.loop.crew import twin

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20}
KINDS = {"class": BertForSequenceClassification, "tags": BertForTokenClassification}
IDS = torch.tensor([[1, 5, 7, 2]])


def made(names):
    """Models on the same body, each with its head; and what each answers while it stands alone."""
    config = {"initializer_range": 0.3, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    models, body = {}, None
    for number, name in enumerate(names):
        torch.manual_seed(number)
        model = KINDS[name](transformers.BertConfig(**SHAPE, **config, num_labels=3)).eval()
        if body is not None:
            model.bert.load_state_dict(body, strict=False)
        body = model.bert.state_dict() if body is None else body
        models[name] = model
    with torch.no_grad():
        answers = {name: model(IDS).logits for name, model in models.items()}
    return models, answers


@pytest.fixture(params=[("class", "tags"), ("tags", "class")], ids="-".join)
def heads(request):
    models, answers = made(request.param)
    return Heads(models).eval(), answers


def test_each_part_answers_as_it_did_alone_and_within(heads):
    model, answers = heads
    for name, wanted in answers.items():
        for part in (model.part(name), model.alone(name)):
            torch.testing.assert_close(part(IDS).logits, wanted)
        torch.testing.assert_close(model(name, input_ids=IDS).logits, wanted)


def test_the_body_is_there_once(heads):
    model, _ = heads
    named = [name for name, _ in model.named_parameters()]
    assert sum(name.endswith("word_embeddings.weight") for name in named) == 1
    assert {name.split(".")[0] for name in named} == {"body", "parts"}
    assert model.part("class").bert is model.part("tags").bert is model.body
    assert model.alone("class").bert.encoder is model.body.encoder


def test_a_pooler_belongs_to_those_that_have_one(heads):
    model, _ = heads
    assert model.alone("tags").bert.pooler is None
    assert model.alone("class").bert.pooler is model.body.pooler
    assert not [name for name in model.shared() if "pooler" in name]
    assert "encoder.layer.0.output.dense.weight" in model.shared()


def test_what_a_part_would_hold_alone_loads_into_a_model_of_its_class(heads):
    model, answers = heads
    for name, wanted in answers.items():
        fresh = KINDS[name](model.part(name).config).eval()
        held = dict(states(model, name))
        assert fresh.state_dict().keys() <= held.keys()
        fresh.load_state_dict({key: held[key] for key in fresh.state_dict()})
        torch.testing.assert_close(fresh(IDS).logits, wanted)
        assert fresh.state_dict().keys() == model.alone(name).state_dict().keys()


def test_a_twin_has_one_body_of_its_own_on_the_same_weights(heads):
    model, answers = heads
    other = twin(model)
    assert other.part("class").bert is other.part("tags").bert is other.body
    assert other.body is not model.body
    for name, wanted in answers.items():
        torch.testing.assert_close(other.part(name)(IDS).logits, wanted)
    other.part("class")(IDS).logits.sum().backward()
    assert model.body.encoder.layer[0].output.dense.weight.grad is None
    assert other.body.encoder.layer[0].output.dense.weight.grad is not None


def test_it_is_found_inside_what_a_method_wrapped(heads):
    model, _ = heads
    assert Heads.within(nn.Sequential(model)) is model
    assert Heads.within(nn.Linear(1, 1)) is None


def test_a_part_may_bear_the_name_of_a_method(heads):
    models, answers = made(("class", "tags"))
    model = Heads({"items": models["class"], "train": models["tags"]}).eval()
    torch.testing.assert_close(model.part("items")(IDS).logits, answers["class"])


def test_bodies_of_different_classes_are_refused():
    models, _ = made(("class",))
    config = transformers.DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, vocab_size=20)
    with pytest.raises(BaseError, match="DistilBertModel"):
        Heads({**models, "other": transformers.DistilBertForTokenClassification(config)})


def test_only_names_of_heads_are_taken_for_such():
    assert head_of("parts.on_a.classifier.dense.weight") == "parts.on_a.classifier"
    assert head_of("parts.classifier.weight") is None
    assert head_of("classifier.weight") is None


def test_a_copy_of_a_part_is_whole():
    models, answers = made(("class", "tags"))
    alone = copy.deepcopy(Heads(models).eval().alone("class"))
    torch.testing.assert_close(alone(IDS).logits, answers["class"])
