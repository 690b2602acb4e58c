"""The shape of a base without its weights."""

import torch
from safetensors.torch import load_file
from tests.methods.conftest import weights

from rootstock.methods.from_scratch import FromScratch


def test_all_weights_are_those_that_the_architecture_starts_with(load):
    loaded = load()
    pretrained = weights(loaded.model)
    torch.manual_seed(5)
    drawn = weights(type(loaded.model)(loaded.model.config))
    torch.manual_seed(5)
    model = FromScratch().apply(loaded)
    after = weights(model)
    assert all(torch.equal(after[name], drawn[name]) for name in after)
    same = {name for name in after if torch.equal(after[name], pretrained[name])}
    assert all(name.endswith("bias") or "LayerNorm" in name for name in same), "what starts at zero or one everywhere"
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_run_repeats_bit_for_bit(adapt):
    runs = [adapt(out=name, method="from-scratch", training={"steps": 4, "batch_tokens": 64}) for name in ("one", "other")]
    one, other = (load_file(run.path / "model" / "model.safetensors") for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
