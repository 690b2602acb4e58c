"""A base opened to look at: what its head does, random weights of its kind, and what can't be opened."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from tests.conftest import make_tokenizer
from tests.tiny_models import causal_model, clip_model, masked_model, saved, seq2seq_model, vit_model, with_bos

from rootstock.core.errors import BaseError
from rootstock.run import choices
from rootstock.run.opened import kind_of, open_base


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BertForMaskedLM", "masked"),
        ("XLMWithLMHeadModel", "masked"),
        ("BertForPreTraining", "masked"),
        ("GPT2LMHeadModel", "causal"),
        ("LlamaForCausalLM", "causal"),
        ("T5ForConditionalGeneration", "seq2seq"),
        ("ElectraForPreTraining", "none"),
        ("BertForSequenceClassification", "none"),
        ("BertModel", "none"),
    ],
)
def test_the_class_tells_what_its_head_does(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize("model", [masked_model, causal_model, seq2seq_model])
def test_weights_and_head_are_those_of_the_checkpoint(tmp_path, model):
    made = model()
    opened = open_base(str(saved(made, with_bos(), tmp_path / "model")))
    assert opened.architecture == type(made).__name__
    for name, value in made.state_dict().items():
        torch.testing.assert_close(opened.model.state_dict()[name], value)
    assert opened.room == 64


def test_random_weights_are_of_the_same_kind_and_come_from_the_seed(tmp_path):
    opened = open_base(str(saved(masked_model(), make_tokenizer(), tmp_path / "model")))
    torch.manual_seed(3)
    after = torch.rand(1)
    torch.manual_seed(3)
    one, again, other = (opened.randomised(seed).model.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), after)
    weight = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(one[weight], again[weight])
    assert not torch.equal(one[weight], other[weight])
    assert not torch.equal(one[weight], opened.model.state_dict()[weight])
    assert one[weight].std().item() == pytest.approx(0.4, rel=0.1)
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in opened.model.state_dict().items()}


def test_a_model_that_reads_letters_keeps_their_spelling(tmp_path):
    from rootstock.bases import elmo

    shape = {
        "hidden_size": 16,
        "cells": 24,
        "num_hidden_layers": 2,
        "letter_size": 4,
        "filters": [[1, 4], [2, 4]],
        "highways": 1,
        "max_letters": 8,
    }
    model = elmo.ElmoModel(elmo.ElmoConfig(vocab_size=32, **shape))
    model.spell(make_tokenizer().get_vocab())
    opened = open_base(str(saved(model, make_tokenizer(), tmp_path / "model")))
    held, random = (dict(each.model.named_buffers()) for each in (opened, opened.randomised(0)))
    assert held
    assert all(torch.equal(held[name], random[name]) for name in held)


def test_what_reads_images_is_opened_with_its_tokenizer_or_without(tmp_path):
    tokens = make_tokenizer()
    vit = open_base(str(saved(vit_model(), tokens, tmp_path / "vit")))
    assert (vit.kind, vit.tokens, vit.architecture) == ("vision", None, "ViTModel")
    clip = open_base(str(saved(clip_model(tokens), tokens, tmp_path / "clip")))
    assert (clip.kind, clip.room, len(clip.tokens)) == ("vision", 12, len(tokens))


def test_random_weights_know_nothing_of_the_batches_that_training_saw(tmp_path):
    shape = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic", "image_size": 16}
    model = transformers.ResNetModel(transformers.ResNetConfig(**shape))
    name = "embedder.embedder.normalization.running_mean"
    model.state_dict()[name].fill_(3.0)
    opened = open_base(str(saved(model, make_tokenizer(), tmp_path / "resnet")))
    assert float(opened.model.state_dict()[name].sum()) == 24.0
    assert not opened.randomised(0).model.state_dict()[name].any()


def test_what_reads_neither_text_nor_images_and_what_is_an_adapter_are_refused(tmp_path):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "num_mel_bins": 8}
    saved(transformers.ASTModel(transformers.ASTConfig(**shape, max_length=32)), make_tokenizer(), tmp_path / "sounds")
    with pytest.raises(BaseError, match="reads other things than text and images"):
        open_base(str(tmp_path / "sounds"))
    run = tmp_path / "run"
    folder = saved(masked_model(), make_tokenizer(), run / "model")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    (run / "recipe.yaml").write_text("base: minilm\n")
    with pytest.raises(BaseError, match="is an adapter"):
        open_base(str(run))
    saved(masked_model(), make_tokenizer(), run / "merged")
    assert open_base(str(run)).kind == "masked"


@pytest.mark.parametrize(("pad", "room"), [(1, 512), (0, 513), (None, 512)])
def test_positions_of_a_roberta_begin_behind_its_padding(tmp_path, pad, room):
    config = {"model_type": "roberta", "max_position_embeddings": 514} | ({} if pad is None else {"pad_token_id": pad})
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert choices.room(SimpleNamespace(scratch=None, folder=tmp_path)) == room
