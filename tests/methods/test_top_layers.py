"""What learns, by name."""

import pytest

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.loaded import Head
from rootstock.core.method import learning
from rootstock.methods.top_layers import TopLayers


def loaded(folder, auto="AutoModelForSequenceClassification"):
    return bases.load(resolve(str(folder)), Head(auto=auto), seed=1)


def test_the_top_block_and_what_stands_above_it(tiny_base):
    found = loaded(tiny_base)
    names = {name for name, _ in learning(TopLayers(blocks=1).apply(found))}
    assert {"classifier.weight", "bert.pooler.dense.weight", "bert.encoder.layer.1.output.dense.weight"} <= names
    assert not any("embeddings" in name or "layer.0." in name for name in names)


def test_all_blocks_and_no_embedding(tiny_base):
    names = {name for name, _ in learning(TopLayers(blocks=2).apply(loaded(tiny_base)))}
    assert "bert.encoder.layer.0.output.dense.weight" in names
    assert not any("embeddings" in name for name in names)


def test_an_output_layer_that_is_the_embedding_table_learns(tiny_base):
    names = {name for name, _ in learning(TopLayers(blocks=1).apply(loaded(tiny_base, "AutoModelForMaskedLM")))}
    assert "bert.embeddings.word_embeddings.weight" in names
    assert "bert.embeddings.position_embeddings.weight" not in names


def test_more_blocks_than_there_are(tiny_base):
    with pytest.raises(ValueError, match="2 blocks, and 3 are asked for"):
        TopLayers(blocks=3).apply(loaded(tiny_base))
