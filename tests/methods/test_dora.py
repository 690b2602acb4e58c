"""DoRA against its definition."""

import torch
from tests.methods.conftest import answers, moved, weights

from rootstock.methods.dora import DoRA

QUERY = "bert.encoder.layer.0.attention.self.query"


def test_the_merged_matrix_has_the_learned_lengths_and_the_updated_direction(load):
    loaded = load()
    before, method = weights(loaded.model)[f"{QUERY}.weight"], DoRA(r=2, alpha=8)
    model = method.apply(loaded)
    start = answers(model)
    torch.testing.assert_close(start, answers(load().model), rtol=1e-4, atol=1e-5)
    moved(model)
    held = {name.removeprefix(f"base_model.model.{QUERY}."): p for name, p in weights(model).items() if QUERY in name}
    updated = before + 8 / 2 * held["lora_B.default.weight"] @ held["lora_A.default.weight"]
    lengths = held["lora_magnitude_vector.default.weight"]
    expected = lengths[:, None] * updated / updated.norm(dim=1, keepdim=True)
    told = answers(model)
    merged = method.merge(model)
    torch.testing.assert_close(merged.get_submodule(QUERY).weight, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answers(merged), told, rtol=1e-3, atol=1e-4)
