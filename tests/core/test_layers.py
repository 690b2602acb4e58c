"""The order of layers over the families, by name; tied weights; rates in closed form."""

import pytest
import torch
import transformers
from tests.tiny_models import causal_model, masked_model, seq2seq_model, vit_model

from rootstock.core import layers

WIDTH = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 32}


def sequence_classifier(family):
    kinds = {
        "bert": (transformers.BertConfig, transformers.BertForSequenceClassification, {"num_hidden_layers": 3}),
        "roberta": (transformers.RobertaConfig, transformers.RobertaForSequenceClassification, {"num_hidden_layers": 3}),
        "electra": (transformers.ElectraConfig, transformers.ElectraForSequenceClassification, {"num_hidden_layers": 3}),
        "deberta-v2": (transformers.DebertaV2Config, transformers.DebertaV2ForSequenceClassification, {"num_hidden_layers": 3}),
        "modernbert": (transformers.ModernBertConfig, transformers.ModernBertForSequenceClassification, {"num_hidden_layers": 3}),
        "llama": (transformers.LlamaConfig, transformers.LlamaForSequenceClassification, {"num_hidden_layers": 3}),
    }
    if family == "distilbert":
        config = transformers.DistilBertConfig(vocab_size=32, dim=32, n_heads=2, n_layers=3, hidden_dim=64)
        return transformers.DistilBertForSequenceClassification(config)
    if family == "gpt2":
        return transformers.GPT2ForSequenceClassification(transformers.GPT2Config(vocab_size=32, n_embd=32, n_head=2, n_layer=3))
    config, model, more = kinds[family]
    special = {f"{name}_token_id": 1 for name in ("pad", "bos", "eos", "cls", "sep")} if family == "modernbert" else {"pad_token_id": 0}
    relative = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p"]} if family == "deberta-v2" else {}
    return model(config(**WIDTH, **more, **special, **relative))


FAMILIES = {
    "bert": ("bert.embeddings.LayerNorm.weight", "bert.encoder.layer.1.output.dense.bias", "bert.pooler.dense.weight"),
    "roberta": ("roberta.embeddings.position_embeddings.weight", "roberta.encoder.layer.1.output.dense.bias", "classifier.dense.weight"),
    "electra": ("electra.embeddings_project.weight", "electra.encoder.layer.1.output.dense.bias", "classifier.out_proj.weight"),
    "deberta-v2": ("deberta.encoder.rel_embeddings.weight", "deberta.encoder.layer.1.output.dense.bias", "pooler.dense.weight"),
    "modernbert": ("model.embeddings.tok_embeddings.weight", "model.layers.1.mlp.Wo.weight", "model.final_norm.weight"),
    "llama": ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"),
    "distilbert": ("distilbert.embeddings.LayerNorm.bias", "distilbert.transformer.layer.1.ffn.lin1.weight", "pre_classifier.weight"),
    "gpt2": ("transformer.wpe.weight", "transformer.h.1.mlp.c_fc.weight", "transformer.ln_f.weight"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_then_blocks_then_the_head(family):
    model = sequence_classifier(family)
    held = layers.depths(model)
    assert list(held) == [name for name, _ in model.named_parameters()]
    assert [held[name] for name in FAMILIES[family]] == [0, 2, 4]
    assert len(layers.blocks(model)) == 3
    assert {held[name] for name in held if "classifier" in name or "score" in name} == {4}
    assert all(held[name] == 0 for name in held if "embedding" in name)


def test_debertas_norm_of_positions_is_below():
    model = sequence_classifier("deberta-v2")
    model.deberta.encoder.LayerNorm = torch.nn.LayerNorm(32)  # there where norm_rel_ebd asks for it
    assert layers.depths(model)["deberta.encoder.LayerNorm.weight"] == 0


def test_an_encoder_stands_below_its_decoder():
    held = layers.depths(seq2seq_model())
    assert held["encoder.block.1.layer.0.SelfAttention.q.weight"] == 2
    assert held["decoder.block.0.layer.0.SelfAttention.q.weight"] == 3
    assert held["lm_head.weight" if "lm_head.weight" in held else "shared.weight"] == 5
    assert layers.lowest(seq2seq_model())["shared.weight"] == 0


def test_images():
    held = layers.depths(vit_model())
    assert held["embeddings.cls_token"] == held["embeddings.patch_embeddings.projection.weight"] == 0
    assert held["layernorm.weight"] == 2


@pytest.mark.parametrize(
    ("make", "tied"), [(masked_model, "bert.embeddings.word_embeddings.weight"), (causal_model, "transformer.wte.weight")]
)
def test_tied_embeddings_stand_at_the_top_and_are_used_below(make, tied):
    model = make()
    assert layers.depths(model)[tied] == 3
    assert layers.lowest(model)[tied] == 0
    model.requires_grad_(False)
    model.get_parameter(tied).requires_grad_(True)
    assert layers.frozen(model) == 0


def test_what_lies_below_the_lowest_that_learns_is_frozen():
    model = sequence_classifier("bert")
    model.requires_grad_(False)
    assert layers.frozen(model) == 3
    model.get_parameter("classifier.weight").requires_grad_(True)
    assert layers.frozen(model) == 3
    model.get_parameter("bert.encoder.layer.1.output.dense.bias").requires_grad_(True)
    assert layers.frozen(model) == 1
    model.get_parameter("bert.embeddings.LayerNorm.bias").requires_grad_(True)
    assert layers.frozen(model) == 0


def test_a_model_without_blocks_is_all_head():
    model = torch.nn.Linear(2, 3)
    assert layers.depths(model) == {"weight": 1, "bias": 1}
    assert layers.frozen(model) == 0
    assert layers.decayed([{"names": ["weight", "bias"], "rate": 2.0}], model, 0.5) == [{"names": ["weight", "bias"], "rate": 2.0}]


def test_rates_fall_by_one_factor_a_layer():
    model = sequence_classifier("bert")
    names = [name for name, _ in model.named_parameters()]
    made = layers.decayed([{"names": names, "rate": 1.0}], model, 0.5)
    assert [group["rate"] for group in made] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert sorted(name for group in made for name in group["names"]) == sorted(names)
    assert "classifier.weight" in made[0]["names"]
    assert "bert.embeddings.word_embeddings.weight" in made[-1]["names"]
