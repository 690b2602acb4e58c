"""Ranks that fall to the budget, the weakest first, and a run that is resumed."""

import pytest
import torch
from safetensors.torch import load_file
from tests.methods.conftest import moved

from rootstock.core.errors import Interrupted, RecipeError
from rootstock.core.method import learning
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.watch import Watch
from rootstock.methods.adalora import AdaLoRA
from rootstock.verbs import api, verify

TRAINING = {"epochs": 3, "rate": 3e-2, "batch_tokens": 64, "checkpoint_steps": 3}


def kept(values):
    return {name: int(torch.count_nonzero(value)) for name, value in values.items() if "lora_E" in name}


@torch.no_grad()
def test_the_weakest_directions_of_all_matrices_go_first(load):
    method = AdaLoRA(r=2, start=4)
    values = dict(learning(moved(method.apply(load()))))
    names = [name for name in values if "lora_E" in name]
    assert sum(kept(values).values()) == 16  # two matrices in each of two layers
    strong, weak = names[0], names[1:]
    values[strong].mul_(1000)
    assert method.revise(values, 0.05) == ()
    assert set(method.revise(values, 0.35)) == set(names)
    assert sum(kept(values).values()) == 4 * 2 + round(4 * 2 / 2**3)  # half-way: an eighth of what is given up is left
    method.revise(values, 0.9)
    assert sum(kept(values).values()) == 8, "r of each matrix on average"
    assert kept(values)[strong] == 4, "the budget goes where the updates are large"
    assert sum(kept(values)[name] for name in weak) == 4


@pytest.mark.parametrize(("a", "b"), [([[3.0, 4.0], [0.1, 0.0]], [[1.0, 1.0]]), ([[0.0, 1.0], [1.0, 0.0]], [[3.0, 0.1], [4.0, 0.0]])])
def test_a_direction_is_as_large_as_what_it_adds(a, b):
    """|λ|·‖a‖·‖b‖ is the norm of λ·b·aᵀ, so a small λ beside a large vector outlives a large one beside a small."""
    names = [f"x.lora_{part}.default" for part in "ABE"]
    values = dict(zip(names, (torch.tensor(each) for each in (a, b, [[0.1], [1.0]])), strict=True))
    AdaLoRA(r=1, start=2).revise(values, 1.0)
    assert values[names[2]].flatten().tolist() == pytest.approx([0.1, 0.0])


def test_ranks_only_fall():
    with pytest.raises(RecipeError, match="ranks only fall"):
        AdaLoRA.build({"r": 8, "start": 4}, "method")


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_run_ends_within_its_budget_and_resumed_it_is_the_same(adapt, tmp_path, precision):
    training = TRAINING | {"precision": precision}
    run = adapt(out="straight", training=training, method=AdaLoRA(r=2, start=4))
    weights = load_file(run.path / "model" / "adapter_model.safetensors")
    assert 0 < sum(kept(weights).values()) <= 16
    assert run.metrics["best_step"] < 0.5 * run.metrics["steps"] or sum(kept(weights).values()) < 16
    recipe, out = read_recipe(run.folder.recipe), tmp_path / "stopped"
    with pytest.raises(Interrupted):
        api.carry_out(recipe, out, Watch(stop=verify._Countdown(7)))
    api.carry_out(recipe, out, Watch(), resume=True)
    again = load_file(RunFolder(out).model / "adapter_model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
