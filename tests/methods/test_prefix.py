"""Keys and values before a row's own, against a cache that holds them."""

import pytest
import torch
from tests.methods.conftest import HEAD, answers, moved, rows
from transformers import DynamicCache

from rootstock.core.errors import RecipeError
from rootstock.methods.prefix import PrefixTuning


def test_every_layer_finds_learned_keys_and_values_first(load):
    loaded, plain = load("llama"), load("llama")
    model = moved(PrefixTuning(tokens=3).apply(loaded), but=("score",))
    flat = model.prompt_encoder["default"].embedding.weight.detach()  # [3, layers · 2 · heads · width]
    held = flat.view(3, 2, 2, 2, 16).permute(1, 2, 3, 0, 4)  # layer, key or value, head, position, width
    cache = DynamicCache()
    for layer, (key, value) in enumerate(held):
        cache.update(key.expand(3, 2, 3, 16), value.expand(3, 2, 3, 16), layer)
    given = rows()
    given["attention_mask"] = torch.cat([torch.ones(3, 3, dtype=torch.long), given["attention_mask"]], dim=1)
    expected = answers(plain.model, {**given, "past_key_values": cache})
    torch.testing.assert_close(answers(model), expected, rtol=1e-4, atol=1e-5)
    assert (answers(model) - answers(plain.model)).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
def test_answers_are_alike_whatever_the_padding(load, family):
    model, given = moved(PrefixTuning(tokens=3).apply(load(family))), rows()
    alone = {name: value[1:2, :4] for name, value in given.items()}
    torch.testing.assert_close(answers(model, alone), answers(model)[1:2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["distilbert", "modernbert", "t5"])
def test_a_base_that_reads_no_past_is_refused(kind):
    with pytest.raises(RecipeError, match=kind) as refused:
        PrefixTuning().check(HEAD, {"model_type": kind})
    assert "llama" in refused.value.wanted
