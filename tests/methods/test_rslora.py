"""The scale of rank-stabilised LoRA."""

import torch
from tests.methods.conftest import moved, weights

from rootstock.methods.rslora import RankStabilised

QUERY = "bert.encoder.layer.0.attention.self.query"


def test_the_update_falls_with_the_root_of_the_rank(load):
    loaded = load()
    before, method = weights(loaded.model)[f"{QUERY}.weight"], RankStabilised(r=16, alpha=8)
    model = moved(method.apply(loaded))
    held = {name.removeprefix(f"base_model.model.{QUERY}."): p for name, p in weights(model).items() if QUERY in name}
    expected = before + 8 / 4 * held["lora_B.default.weight"] @ held["lora_A.default.weight"]
    torch.testing.assert_close(method.merge(model).get_submodule(QUERY).weight, expected)
