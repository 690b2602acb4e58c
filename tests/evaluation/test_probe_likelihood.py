"""Likelihoods against the slow way: one sentence, one mask and all logits at a time."""

import numpy as np
import pytest
import torch
import transformers
from tests.conftest import make_tokenizer
from tests.tiny_models import causal_model, masked_model, pieces, with_bos

from rootstock.evaluation.probes import likelihood
from rootstock.evaluation.probes.likelihood import Scorer, log_likelihoods

SENTENCES = [
    "the film was good",
    "a book",
    "goodbad film is coldwarm",
    "the film was bad",
    "not very very good is the song",
    "the film was good",
]


@torch.no_grad()
def slowly(model, tokens, text, *, by_word):
    """Salazar et al.'s sum, or Kauf & Ivanova's."""
    encoded = tokens(text)
    ids, words, total = encoded["input_ids"], encoded.word_ids(), 0.0
    for place, word in enumerate(words):
        if word is None:
            continue
        shown = [4 if i == place or (by_word and i > place and words[i] == word) else each for i, each in enumerate(ids)]
        total += torch.log_softmax(model(torch.tensor([shown])).logits[0, place], 0)[ids[place]].item()
    return total


@pytest.mark.parametrize("masking", ["word", "token"])
def test_pseudo_likelihood_is_the_sum_of_what_each_mask_hides(masking):
    model, tokens = masked_model(), pieces()
    wanted = [slowly(model, tokens, text, by_word=masking == "word") for text in SENTENCES]
    found = log_likelihoods(Scorer(model=model, tokens=tokens, masked=True, room=64, masking=masking), SENTENCES)
    np.testing.assert_allclose(found.nats, wanted, rtol=1e-4)
    assert found.nats[0] == found.nats[5]


def test_hiding_the_word_matters_only_where_words_have_pieces():
    scorers = [Scorer(model=masked_model(), tokens=pieces(), masked=True, room=64, masking=each) for each in ("word", "token")]
    word, token = (log_likelihoods(each, SENTENCES).nats for each in scorers)
    assert (np.abs(word - token) > 1e-3).tolist() == [False, False, True, False, False, False]


def test_likelihood_is_the_models_own_loss_times_its_tokens():
    model, tokens = causal_model(), with_bos()
    found = log_likelihoods(Scorer(model=model, tokens=tokens, masked=False, room=64), SENTENCES)
    for text, nats in zip(SENTENCES, found.nats, strict=True):
        ids = torch.tensor([[tokens.bos_token_id, *tokens(text, add_special_tokens=False)["input_ids"]]])
        assert nats == pytest.approx(-model(ids, labels=ids).loss.item() * (ids.shape[1] - 1), rel=1e-4)


def test_without_bos_the_first_token_is_not_scored():
    model, tokens = causal_model(), make_tokenizer()
    (nats,) = log_likelihoods(Scorer(model=model, tokens=tokens, masked=False, room=64), ["the film was good"]).nats
    ids = torch.tensor([tokens("the film was good", add_special_tokens=False)["input_ids"]])
    assert nats == pytest.approx(-model(ids, labels=ids).loss.item() * 3, rel=1e-4)


def test_small_batches_change_nothing(monkeypatch):
    scorer = Scorer(model=masked_model(), tokens=pieces(), masked=True, room=64)
    whole = log_likelihoods(scorer, SENTENCES).nats
    monkeypatch.setattr(likelihood, "_BATCH_TOKENS", 8)
    np.testing.assert_allclose(log_likelihoods(scorer, SENTENCES).nats, whole, rtol=1e-5)


def test_the_vocabulary_layer_runs_only_where_asked():
    model, seen = masked_model(), []
    model.cls.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[:-1].numel()))
    log_likelihoods(Scorer(model=model, tokens=pieces(), masked=True, room=64), ["the film was good", "a book"])
    assert sum(seen) == 6


def test_what_is_too_long_or_unknown_is_said():
    found = log_likelihoods(Scorer(model=masked_model(), tokens=pieces(), masked=True, room=5), ["the film was good", "a zebra", "a book"])
    assert np.isnan(found.nats).tolist() == [True, False, False]
    assert found.unknown == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (transformers.RobertaConfig, transformers.RobertaForMaskedLM),
        (transformers.DistilBertConfig, transformers.DistilBertForMaskedLM),
        (transformers.ModernBertConfig, transformers.ModernBertForMaskedLM),
        (transformers.ElectraConfig, transformers.ElectraForMaskedLM),
        (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    ],
)
def test_every_family_gives_the_logits_that_it_would_give_of_all(config, model):
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "dim": 32, "n_layers": 1}
    named = {key: value for key, value in (small | {"n_heads": 2, "hidden_dim": 64}).items() if hasattr(config(), key)}
    ends = {f"{name}_token_id": 1 for name in ("cls", "sep", "bos", "eos", "pad")}
    made = model(config(vocab_size=32, **named, **ends)).eval()
    ids_BT = torch.randint(2, 32, (3, 7))
    asked_BT = torch.rand(3, 7) > 0.6
    with torch.no_grad():
        found, wanted = likelihood.logits_at(made, ids_BT, asked_BT), made(ids_BT, attention_mask=torch.ones_like(ids_BT)).logits[asked_BT]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
