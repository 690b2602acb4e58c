"""Norms learn, and they alone are saved."""

import pytest
from safetensors.torch import load_file
from tests.methods.conftest import answers, moved, weights

from rootstock.core.method import learning
from rootstock.methods.layer_norm import LayerNorms


@pytest.mark.parametrize(("family", "norms"), [("bert", 5), ("llama", 5), ("roberta", 5), ("distilbert", 5)])
def test_every_norm_of_the_body_and_the_head_learn(load, tmp_path, family, norms):
    """The embeddings' norm and two a layer; of a Llama two a layer and the last."""
    loaded, method = load(family), LayerNorms()
    before = weights(loaded.model)
    model = moved(method.apply(loaded))
    learned = {method.original(name).replace(".ln_tuning_layers.default", "") for name, _ in learning(model)}
    assert learned - loaded.fresh == {name for name in before if "norm" in name.lower()}
    assert len({name.rsplit(".", 1)[0] for name in learned - loaded.fresh}) == norms
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(value.numel() for value in saved.values()) == sum(before[name].numel() for name in learned)
    told = answers(model)
    plain = method.merge(model)
    assert set(weights(plain)) == set(before)
    assert (answers(plain) - told).abs().max() < 1e-5
