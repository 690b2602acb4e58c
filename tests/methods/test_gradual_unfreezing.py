"""When each layer thaws and at which rate, in closed form."""

import pytest
import torch

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core import layers
from rootstock.core.loaded import Head
from rootstock.core.method import learning
from rootstock.methods.gradual_unfreezing import GradualUnfreezing


def loaded(folder, auto="AutoModelForSequenceClassification"):
    return bases.load(resolve(str(folder)), Head(auto=auto), seed=1)


def lowest(model):
    held = layers.depths(model)
    return min(held[name] for name, _ in learning(model))


@pytest.mark.parametrize(
    ("settings", "thawed"),
    [
        ({}, {0: 3, 0.12: 3, 0.125: 2, 0.25: 1, 0.374: 1, 0.375: 0, 0.9: 0, 1.0: 0}),  # two blocks and the embeddings in half of the time
        ({"blocks": 1, "until": 1}, {0: 3, 0.49: 3, 0.5: 2, 1.0: 2}),
        ({"blocks": 2, "until": 1}, {0: 3, 0.33: 3, 0.34: 2, 0.67: 1, 1.0: 1}),  # one layer in each third
    ],
)
def test_one_layer_more_at_each_turn(tiny_base, settings, thawed):
    method = GradualUnfreezing(**settings)
    model = method.apply(loaded(tiny_base))
    for progress, depth in thawed.items():
        method.advance(model, progress)
        assert lowest(model) == depth, progress
    method.advance(model, 0.0)  # a rehearsal goes back
    assert lowest(model) == 3


def test_what_never_thaws_stays_frozen(tiny_base):
    method = GradualUnfreezing(blocks=1)
    model = method.apply(loaded(tiny_base))
    method.advance(model, 1.0)
    assert lowest(model) == 2


def test_tied_embeddings_learn_from_the_start(tiny_base):
    method = GradualUnfreezing()
    model = method.apply(loaded(tiny_base, "AutoModelForMaskedLM"))
    method.advance(model, 0.0)
    names = {name for name, _ in learning(model)}
    assert "bert.embeddings.word_embeddings.weight" in names
    assert "bert.embeddings.position_embeddings.weight" not in names


def test_a_base_without_a_head_begins_with_its_top_block(tiny_base):
    """What learns vectors has nothing above the blocks but a pooler that nobody reads."""
    method = GradualUnfreezing()
    model = method.apply(loaded(tiny_base, "AutoModel"))
    assert list(method.turns(model)) == pytest.approx([0.5 / 3, 1.0 / 3])
    for progress, depth in {0: 2, 0.16: 2, 0.17: 1, 0.33: 1, 0.34: 0, 1.0: 0}.items():
        method.advance(model, progress)
        assert min(layers.depths(model)[name] for name, _ in learning(model) if "pooler" not in name) == depth, progress
    method.advance(model, 0.0)
    model(input_ids=torch.tensor([[2, 7, 3]])).last_hidden_state.sum().backward()
    assert model.encoder.layer[1].output.dense.weight.grad is not None
    assert model.encoder.layer[0].output.dense.weight.grad is None


def test_rates_fall_by_the_decay(tiny_base):
    method = GradualUnfreezing(decay=0.5)
    model = method.apply(loaded(tiny_base))
    rates = {name: group["rate"] for group in method.groups(model, 1.0) for name in group["names"]}
    assert rates["classifier.weight"] == 1
    assert rates["bert.encoder.layer.1.output.dense.weight"] == 0.5
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.125


def test_random_weights_that_would_never_learn_are_refused():
    found = bases.load(resolve("scratch:bert-mini"), Head(auto="AutoModelForSequenceClassification"), seed=1)
    with pytest.raises(ValueError, match="random and would never learn"):
        GradualUnfreezing(blocks=1).apply(found)
    assert lowest(GradualUnfreezing().apply(found)) == 0
