"""(IA)³ against its definition."""

import torch
from tests.methods.conftest import moved, weights

from rootstock.methods.ia3 import IA3


def test_keys_and_values_are_scaled_by_row_and_the_feedforward_by_column(load):
    loaded = load()
    before, method = weights(loaded.model), IA3()
    model = moved(method.apply(loaded))
    scales = {name.removeprefix("base_model.model."): p for name, p in weights(model).items() if "ia3_l" in name}
    after = weights(method.merge(model))
    layer = "bert.encoder.layer.1"
    for part, by_column in (("attention.self.key", False), ("attention.self.value", False), ("output.dense", True)):
        scale = scales[f"{layer}.{part}.ia3_l.default"]
        assert scale.shape == ((1, 64) if by_column else (32, 1))
        torch.testing.assert_close(after[f"{layer}.{part}.weight"], before[f"{layer}.{part}.weight"] * scale)
    assert torch.equal(after[f"{layer}.attention.self.query.weight"], before[f"{layer}.attention.self.query.weight"])


def test_named_targets_scale_their_output_unless_said_otherwise(load):
    model = IA3(targets=("query", "intermediate.dense"), feedforward=("intermediate.dense",)).apply(load())
    shapes = {tuple(p.shape) for name, p in model.named_parameters() if "ia3_l" in name}
    assert shapes == {(32, 1), (1, 32)}
