"""Biases learn, and they alone."""

import pytest

from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head
from rootstock.core.method import learning
from rootstock.methods.bitfit import BitFit


@pytest.mark.parametrize(("family", "pooler"), [("bert", 32), ("roberta", 0), ("distilbert", 0)])
def test_every_bias_learns(load, family, pooler):
    """Query, key, value, attention's output, two norms and the feed-forward's two in each layer; the embeddings' norm."""
    loaded = load(family)
    names = {name for name, _ in learning(BitFit().apply(loaded))}
    parameters = dict(loaded.model.named_parameters())
    assert loaded.fresh <= names
    body = names - loaded.fresh
    assert all(name.endswith("bias") for name in body)
    assert sum(parameters[name].numel() for name in body) == 2 * (7 * 32 + 64) + 32 + pooler


def test_a_base_without_biases_is_refused_before_it_is_loaded():
    with pytest.raises(RecipeError, match="llama has no biases"):
        BitFit().check(Head(auto="AutoModelForCausalLM"), {"model_type": "llama"})
    BitFit().check(Head(auto="AutoModelForCausalLM"), {"model_type": "llama", "attention_bias": True})
    BitFit().check(Head(auto="AutoModelForCausalLM"), {"model_type": "gpt2"})
