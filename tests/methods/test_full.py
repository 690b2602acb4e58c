"""What learns under full, by name: all of it, or any blocks."""

import pytest
from tests.methods.test_top_layers import loaded

from rootstock.core import layers
from rootstock.core.method import learning
from rootstock.methods.full import Full
from rootstock.methods.top_layers import TopLayers


def test_everything_learns_where_nothing_is_said(tiny_base):
    model = Full().apply(loaded(tiny_base))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_lowest_block_alone_and_what_stands_above_all(tiny_base):
    model = Full(layers=(0,)).apply(loaded(tiny_base))
    names = {name for name, _ in learning(model)}
    held = layers.depths(model)
    assert names == {name for name, depth in held.items() if depth in (1, 3)}
    assert {"bert.encoder.layer.0.output.dense.weight", "bert.pooler.dense.weight", "classifier.weight"} <= names
    assert layers.frozen(model) == 0  # the upper block does not learn, and yet what it gives changes


def test_the_highest_blocks_are_those_of_top_layers(tiny_base):
    ours, theirs = ({name for name, _ in learning(each.apply(loaded(tiny_base)))} for each in (Full(layers=(1,)), TopLayers(blocks=1)))
    assert ours == theirs


def test_an_output_layer_that_is_the_embedding_table_learns(tiny_base):
    names = {name for name, _ in learning(Full(layers=(1,)).apply(loaded(tiny_base, "AutoModelForMaskedLM")))}
    assert "bert.embeddings.word_embeddings.weight" in names
    assert "bert.embeddings.position_embeddings.weight" not in names


@pytest.mark.parametrize(("asked", "said"), [((2,), "2 blocks, and 3 are asked for"), ((-1, 0), "no block -1")])
def test_blocks_that_there_are_not(tiny_base, asked, said):
    with pytest.raises(ValueError, match=said):
        Full(layers=asked).apply(loaded(tiny_base))


def test_random_blocks_must_learn():
    with pytest.raises(ValueError, match="is random and would never learn"):
        Full(layers=(1,)).apply(loaded("scratch:bert-tiny"))
