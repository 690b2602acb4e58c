"""A step on the meta device: operations by the closed form, bytes by what torch really keeps."""

import torch
from torch import nn

from rootstock.planning.rehearse import step

B, H = 16, 32


def linear(width=H, device="meta"):
    with torch.device(device):
        return nn.Linear(width, width, bias=False)


def test_a_linear_layer_takes_two_operations_a_weight_forward_and_four_backward():
    first, second = linear(), linear()
    model = nn.Sequential(first, second)
    found = step(model, lambda: model(torch.empty(B, H, device="meta")).sum())
    assert found.forward == 2 * 2 * B * H * H
    assert found.flops - found.forward == 3 * 2 * B * H * H  # two for weights, one for what flows: the lowest layer's input wants none


def test_a_frozen_layer_keeps_nothing_for_its_own_gradient():
    model = nn.Sequential(linear(), nn.ReLU(), linear())
    whole = step(model, lambda: model(torch.empty(B, H, device="meta")).sum())
    model[0].requires_grad_(False)
    less = step(model, lambda: model(torch.empty(B, H, device="meta")).sum())
    assert less.flops < whole.flops
    assert less.gradient_bytes == 4 * H * H
    assert whole.gradient_bytes == 2 * 4 * H * H


def test_what_a_forward_pass_keeps_is_what_autograd_saves():
    def run(device):
        torch.manual_seed(0)
        with torch.device(device):
            model, rows = nn.Sequential(nn.Linear(H, 4 * H), nn.GELU(), nn.Linear(4 * H, H)), torch.ones(B, H)
        return model, rows

    model, rows = run("cpu")
    saved = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        held = model(rows).sum()
    kept = sum(saved.values()) - rows.nbytes + held.nbytes  # the rows were there before
    blank, rows = run("meta")
    assert step(blank, lambda: blank(rows).sum()).kept_bytes == kept


def test_gradients_are_gone_after():
    model = nn.Sequential(linear())
    step(model, lambda: model(torch.empty(B, H, device="meta")).sum())
    assert model[0].weight.grad is None


def test_positions_that_depend_on_values_are_all_asked():
    model = linear()

    def loss():
        labels = torch.zeros(B, dtype=torch.long, device="meta")
        hidden = model(torch.empty(B, H, device="meta"))[labels != -100]
        assert hidden.shape == (B, H)
        return hidden.sum() if bool(labels.all()) is False else hidden.mean()

    assert step(model, loss).flops > 0
