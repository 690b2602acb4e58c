"""The mean that stands for a text, in closed form and as the layer that plain transformers runs."""

import numpy as np
import pytest
import torch
import transformers

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.loaded import Head
from rootstock.methods import _encoder_mean, _pooling
from rootstock.methods.feature_extraction import FeatureExtraction

HEAD = Head(auto="AutoModelForSequenceClassification", options={"num_labels": 3})


def batch():
    ids = torch.randint(5, 25, (3, 7), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": (torch.arange(7) < torch.tensor([7, 4, 1])[:, None]).long()}


def test_the_mean_is_over_real_tokens_in_fp32():
    hidden = torch.randn(2, 300, 4).bfloat16()
    mask = torch.ones(2, 300, dtype=torch.long)
    mask[1, 257:] = 0
    expected = np.stack([hidden[0].float().mean(0).numpy(), hidden[1, :257].float().mean(0).numpy()])
    np.testing.assert_allclose(_pooling.mean(hidden, mask).numpy(), expected, rtol=1e-5, atol=1e-6)


def loaded(tiny_base):
    return bases.load(resolve(str(tiny_base)), HEAD, seed=1)


def test_the_grafted_layer_gives_the_closed_form(tiny_base):
    found, method, given = loaded(tiny_base), FeatureExtraction(), batch()
    model = method.apply(found)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"classifier.weight", "classifier.bias"}
    tap = method.tap(model, found)
    assert tap.key == "pool=mean"
    with torch.no_grad():
        hidden = model.bert(**given).last_hidden_state
        features = tap.body(**given)
        tap.head.head.weight.normal_()
        expected = tap.head(features).logits
        kept = method.keep(model).eval()
        np.testing.assert_allclose(kept(**given).logits, expected, atol=2e-3)
    mean = _pooling.mean(hidden, given["attention_mask"])
    direction = torch.nn.functional.layer_norm(mean, (mean.shape[-1],))
    np.testing.assert_allclose(torch.atanh(features) / _pooling.QUIET, direction, atol=0.02)
    assert kept.config.num_hidden_layers == 3


def test_the_first_token_alone(tiny_base):
    found, method, given = loaded(tiny_base), FeatureExtraction(pool="first"), batch()
    model = method.apply(found)
    assert "bert.pooler.dense.weight" not in found.fresh
    tap = method.tap(model, found)
    with torch.no_grad():
        np.testing.assert_allclose(tap.body(**given), model.bert(**given).pooler_output, atol=1e-6)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_decoder_gives_way_to_the_encoders_mean(family):
    torch.manual_seed(0)
    if family == "t5":
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        config = transformers.T5Config(vocab_size=40, num_labels=3, **shape, eos_token_id=1, decoder_start_token_id=0, pad_token_id=0)
        model = transformers.T5ForSequenceClassification(config)
    else:
        shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        config = transformers.BartConfig(vocab_size=40, encoder_ffn_dim=32, decoder_ffn_dim=32, num_labels=3, **shape, eos_token_id=1)
        model = transformers.BartForSequenceClassification(config)
    assert _encoder_mean.possible(model)
    model.eval()
    ids = torch.tensor([[5, 6, 7, 8, 1], [9, 10, 1, 0, 0]]) if family == "t5" else torch.tensor([[5, 6, 7, 8, 1], [9, 10, 12, 13, 1]])
    given = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    with torch.no_grad():
        expected = model.classification_head(_encoder_mean.EncoderMean(model)(**given))
        _encoder_mean.replace_decoder(model)
        np.testing.assert_allclose(model(**given).logits, expected, atol=2e-3)
