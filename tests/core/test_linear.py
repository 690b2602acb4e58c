"""The fused product gives the numbers of the plain one, and leaves a model as it was."""

import pytest
import torch
from torch import nn

from rootstock.core import linear
from rootstock.core.twin import same_weights


def test_the_same_numbers_and_no_trace(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 16, bias=False), nn.Linear(16, 3)).bfloat16()
    model[3].float()  # a head stays exact
    rows = torch.randn(7, 5, 24).bfloat16()
    asked, real = [], linear._product
    monkeypatch.setattr(linear, "_product", lambda layer, ordered, rows: asked.append(layer) or real(layer, ordered, rows))

    def answer():
        return model[3](model[:3](rows).float())

    with torch.inference_mode():
        expected = answer()
        with linear.fused(model):
            found = answer()
    able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert asked == [model[0]] * able, "the layer without a bias and the exact one keep their own"
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    assert all("forward" not in vars(module) for module in model.modules())
    with linear.fused(model):
        assert model[0](rows.float()[:0].bfloat16()).shape == (0, 5, 40)
        vars(model[0]).pop("forward", None)  # as a task does that puts its own there and takes it away


def test_states_in_another_format_meet_the_plain_layer():
    layer = nn.Linear(4, 2).bfloat16()
    with linear.fused(layer), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 4)).shape == (3, 2)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bf16 products")
@pytest.mark.parametrize("sizes", [(24, 40), (384, 384), (384, 1536), (1536, 384)])
def test_weights_in_order_give_the_same_bits(sizes):
    torch.manual_seed(0)
    layer, more = nn.Linear(*sizes).bfloat16(), [0, 1, 16, 31, 32, 33, 130, 640]
    with torch.inference_mode():
        for rows in (torch.randn(count, sizes[0]).bfloat16() for count in more):
            with linear.fused(layer):
                expected = layer(rows)
            with linear.fused(layer, ordered=True):
                assert torch.equal(layer(rows), expected), len(rows)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bf16 products")
def test_twins_share_the_weights_in_order():
    layer = nn.Linear(24, 40).bfloat16().requires_grad_(False)
    with linear.fused(layer, ordered=True), torch.inference_mode():
        twin, rows = same_weights(layer), torch.randn(3, 24).bfloat16()
        held = [vars(each)["forward"].args[1].weight for each in (layer, twin)]
        assert held[0] is held[1]
        assert held[0].layout == torch._mkldnn
        assert torch.equal(twin(rows), layer(rows))
