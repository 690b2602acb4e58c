"""The fused product gives the numbers of the plain one, and leaves a model as it was."""

import torch
from torch import nn

from rootstock.core import linear


def test_the_same_numbers_and_no_trace(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 16, bias=False), nn.Linear(16, 3)).bfloat16()
    model[3].float()  # a head stays exact
    rows = torch.randn(7, 5, 24).bfloat16()
    asked, real = [], linear._product
    monkeypatch.setattr(linear, "_product", lambda layer, rows: asked.append(layer) or real(layer, rows))

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
