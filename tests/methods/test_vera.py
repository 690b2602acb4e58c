"""VeRA against its definition, and what its adapter holds."""

import torch
from safetensors.torch import load_file
from tests.methods.conftest import moved, weights

from rootstock.methods.vera import VeRA

QUERY = "bert.encoder.layer.0.attention.self.query"


def test_two_vectors_stand_between_projections_that_all_share(load, tmp_path):
    loaded = load()
    before, method = weights(loaded.model)[f"{QUERY}.weight"], VeRA(r=8)
    model = moved(method.apply(loaded))
    model.save_pretrained(tmp_path)
    saved = {name.removeprefix("base_model.model."): value for name, value in load_file(tmp_path / "adapter_model.safetensors").items()}
    a_RI, b_OR = (next(value for name, value in saved.items() if name.endswith(end)) for end in ("vera_A", "vera_B"))
    assert sum(name.endswith(("vera_A", "vera_B")) for name in saved) == 2, "one pair for all, in the adapter"
    outer_O, inner_R = (saved[f"{QUERY}.vera_lambda_{end}"] for end in "bd")
    expected = before + outer_O[:, None] * b_OR @ (inner_R[:, None] * a_RI)
    torch.testing.assert_close(method.merge(model).get_submodule(QUERY).weight, expected, rtol=1e-4, atol=1e-5)


def test_another_seed_draws_other_projections(load):
    one, other = (next(iter(VeRA(r=8, seed=seed).apply(load()).base_model.vera_A.values())) for seed in (0, 1))
    assert not torch.equal(one, other)
