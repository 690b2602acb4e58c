"""Which blocks are adapted."""

import pytest

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core import layers
from rootstock.core.loaded import Head
from rootstock.core.method import learning
from rootstock.methods.lora import LoRA


def loaded(folder):
    return bases.load(resolve(str(folder)), Head(auto="AutoModelForSequenceClassification"), seed=1)


def test_only_the_named_blocks_are_adapted(tiny_base):
    model = LoRA(layers=(1,)).apply(loaded(tiny_base))
    adapted = {name.split(".layer.")[1][0] for name, _ in learning(model) if "lora_" in name}
    assert adapted == {"1"}
    assert layers.frozen(model) == 1


def test_without_layers_all_are(tiny_base):
    assert layers.frozen(LoRA().apply(loaded(tiny_base))) == 0


@pytest.mark.parametrize(("asked", "told"), [((1, 2), "2 blocks, and 3 are asked for"), ((-1, 1), "no block -1")])
def test_a_block_that_is_not_there(tiny_base, asked, told):
    with pytest.raises(ValueError, match=told):
        LoRA(layers=asked).apply(loaded(tiny_base))
