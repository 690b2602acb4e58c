"""Which models' scores are their output layer's and nothing more."""

import pytest
import torch
import transformers

from rootstock.core.errors import BaseError
from rootstock.tasks import _vocabulary

WIDE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
SIDES = {
    f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in {"layers": 1, "attention_heads": 2, "ffn_dim": 32}.items()
}
MODELS = {
    "bert": (transformers.BertForMaskedLM, transformers.BertConfig(**WIDE)),
    "gpt2": (transformers.GPT2LMHeadModel, transformers.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2)),
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig(**WIDE)),
    "t5": (transformers.T5ForConditionalGeneration, transformers.T5Config(**T5)),
    "bart": (transformers.BartForConditionalGeneration, transformers.BartConfig(vocab_size=40, d_model=16, **SIDES)),
    "gemma2": (transformers.Gemma2ForCausalLM, transformers.Gemma2Config(**WIDE, head_dim=8, num_key_value_heads=1)),
}


@pytest.mark.parametrize("family", MODELS)
def test_scores_that_are_bounded_are_refused_though_random_ones_are_small(family):
    kind, config = MODELS[family]
    torch.manual_seed(0)
    model, few = kind(config).train(), {"input_ids": torch.arange(1, 5)[None], "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    if config.is_encoder_decoder:
        few["decoder_input_ids"] = few["input_ids"]
    if family == "gemma2":
        assert config.final_logit_softcapping == 30
        assert model(**few).logits.abs().max() < 1, "what is random stays far from the bound"
        with pytest.raises(BaseError, match="Gemma2ForCausalLM changes its scores after the output layer"):
            _vocabulary.check_output_layer(model, few)
    else:
        _vocabulary.check_output_layer(model, few)
    assert all(module.training for module in model.modules()), "the trial left another mode"


def test_a_bias_counts_and_learns_as_in_torchs_own_loss():
    torch.manual_seed(0)
    layer, hidden, labels = torch.nn.Linear(6, 40), torch.randn(37, 6), torch.randint(0, 40, (37,))
    torch.nn.init.normal_(layer.bias, std=3.0)
    given = [hidden.clone().requires_grad_() for _ in range(2)]
    found = _vocabulary.cross_entropy(given[0], layer, labels)
    expected = torch.nn.functional.cross_entropy(layer(given[1]), labels, reduction="sum")
    torch.testing.assert_close(found, expected)
    ours, theirs = (
        torch.autograd.grad(loss, [each, layer.weight, layer.bias]) for loss, each in zip((found, expected), given, strict=True)
    )
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


def test_of_equal_scores_the_first_is_the_guess():
    torch.manual_seed(0)
    layer, hidden = torch.nn.Linear(6, 40, bias=False), torch.randn(37, 6)
    with torch.no_grad():
        layer.weight[20:] = layer.weight[:20]  # every score comes twice
    best = layer(hidden).argmax(-1) % 20
    labels = torch.where(torch.arange(37) % 2 == 0, best, best + 20)
    found = _vocabulary.row_results(hidden, layer, labels, torch.arange(37), count=37)
    assert found["hits"].tolist() == [float(number % 2 == 0) for number in range(37)]
    assert found["loss"].tolist() == pytest.approx(torch.nn.functional.cross_entropy(layer(hidden), labels, reduction="none").tolist())
