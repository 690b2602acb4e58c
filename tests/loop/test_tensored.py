"""What tensor parallelism refuses to cut. Three workers are stood in for by a process group that talks to nobody."""

import pytest
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import LlamaConfig, LlamaModel

from rootstock.core.errors import RecipeError
from rootstock.loop import tensored
from rootstock.loop.world import World


@pytest.fixture
def three():
    dist.init_process_group("fake", rank=0, world_size=3, store=FakeStore())
    yield World(rank=0, size=3, strategy="tensor")
    dist.destroy_process_group()


def llama(width, **more):
    shape = {"hidden_size": 12, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 4, "num_hidden_layers": 1, "vocab_size": 20}
    return LlamaModel(LlamaConfig(**shape, intermediate_size=width, **more))


def test_heads_are_shared_evenly(three):
    with pytest.raises(RecipeError, match="4 attention heads can't be shared evenly by 3 workers"):
        tensored.cut(LlamaModel(LlamaConfig(hidden_size=16, num_attention_heads=4, num_hidden_layers=1, vocab_size=20)), three)


def test_widths_too_where_something_is_dropped(three):
    """All workers draw the same random numbers: a mask of another width on one of them, and the next masks differ."""
    with pytest.raises(RecipeError, match=r"the 20 units of layers\.0\.mlp\.[a-z_.]+ can't be shared evenly by 3 workers"):
        tensored.cut(llama(20, attention_dropout=0.1), three)


@pytest.mark.parametrize(("width", "dropout"), [(20, 0.0), (21, 0.1)])
def test_what_can_be_cut_is(three, width, dropout):
    model = llama(width, attention_dropout=dropout)
    tensored.cut(model, three)
    assert model.layers[0].mlp.up_proj.weight.to_local().shape == (7, 12)
