"""Bases without memory for their weights: published sizes come out exactly, and no network is asked for a well-known one."""

import json

import pytest
import transformers

from rootstock.bases.blank import blank, config_of, name_of, published
from rootstock.core.errors import BaseError, GateRefused, UnknownName
from rootstock.core.loaded import Head

CLASSES = Head(auto="AutoModelForSequenceClassification", options={"num_labels": 2})
WRITERS = {"gpt2", "llama", "mistral", "qwen2", "gpt_neox"}
"""Kinds whose published size has the output layer."""


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", published())
def test_a_published_size_comes_out_exactly(name):
    held = published()[name]
    kind = held["config"]["model_type"]
    head = Head(auto="AutoModelForCausalLM") if kind in WRITERS else Head(auto="AutoModelForSeq2SeqLM") if kind == "t5" else None
    model = blank(name, head).model
    assert next(model.parameters()).is_meta
    pooler = size(model.pooler) if kind == "vit" else 0  # the published count is that of the classifier's body, which has none
    assert size(model) - pooler == held["parameters"]


def test_the_sizes_of_text_books():
    assert published()["google-bert/bert-base-uncased"]["parameters"] == 109_482_240
    assert size(blank("bert-base-uncased", CLASSES).model) == 109_483_778
    assert published()["meta-llama/Llama-2-70b-hf"]["parameters"] == 68_976_648_192
    assert published()["google-t5/t5-base"]["parameters"] == 222_903_552


def test_a_head_is_fresh_and_a_language_models_layer_is_not():
    assert {name.split(".")[0] for name in blank("bert-base-uncased", CLASSES).fresh} == {"classifier"}
    assert not blank("llama-7b", Head(auto="AutoModelForCausalLM")).fresh
    every = blank("scratch:bert-tiny", CLASSES)
    assert every.fresh == {name for name, _ in every.model.named_parameters()}


def test_a_well_known_base_is_called_by_its_last_part_too_and_minilm_is_one():
    assert name_of("Llama-2-70b-hf") == name_of("llama-2-70B-hf") == "meta-llama/Llama-2-70b-hf"
    assert name_of("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    assert name_of("nobody/knows-this") is None


def test_fewer_blocks_are_a_smaller_model_on_a_real_device():
    model = blank("scratch:bert-mini", CLASSES, device="cpu", blocks=1).model
    assert len(model.bert.encoder.layer) == 1
    assert not next(model.parameters()).is_meta


def test_a_folder_counts_as_transformers_counts_it(tmp_path):
    config = transformers.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=99)
    config.save_pretrained(tmp_path)
    assert size(blank(str(tmp_path), None).model) == size(transformers.BertModel(config))


def test_what_can_not_be_planned_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BaseError, match=r"no config\.json"):
        config_of(str(tmp_path))
    with pytest.raises(UnknownName, match="bert-base-uncased"):
        config_of("bert-base-uncaset")
    with pytest.raises(BaseError, match="not embedded and could not be fetched"):
        config_of("meta-llama/Llama-9-1b")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": {"AutoModel": "a.B"}}))
    with pytest.raises(GateRefused):
        config_of(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of-my-own"}))
    with pytest.raises(BaseError, match="transformers does not know"):
        blank(str(tmp_path), CLASSES)
    with pytest.raises(BaseError, match="no AutoModelForSeq2SeqLM"):
        blank("bert-base-uncased", Head(auto="AutoModelForSeq2SeqLM"))
