"""Refused where four bits can't be computed with; where bitsandbytes is, packed weights stay and updates learn."""

import sys

import pytest
import torch
from tests.methods.conftest import HEAD, moved, rows

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import MergeRefused, RecipeError
from rootstock.core.method import learning
from rootstock.methods import qlora
from rootstock.methods.qlora import QLoRA


@pytest.mark.parametrize(
    ("package", "gpu", "told"), [(None, True, "needs the package bitsandbytes"), (sys, False, "needs a GPU"), (sys, True, "")]
)
def test_it_is_refused_before_anything_is_loaded_unless_package_and_gpu_are_there(monkeypatch, package, gpu, told):
    monkeypatch.setattr(qlora, "find_spec", lambda name: package)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    if not told:
        QLoRA().check(HEAD, {})
        return
    with pytest.raises(RecipeError, match=told) as refused:
        QLoRA().check(HEAD, {})
    assert "--method lora" in refused.value.fix


def test_weights_of_four_bits_take_nothing_in(load):
    with pytest.raises(MergeRefused, match="four bits"):
        QLoRA().merge(load().model)


def test_the_base_is_packed_and_stays_while_updates_learn(base_of, tmp_path):
    pytest.importorskip("bitsandbytes")
    base = resolve(str(base_of("bert", hidden_size=64, intermediate_size=128)))  # a block of four-bit weights has 64

    def load():
        return bases.load(base, HEAD, seed=1, dropout=0.0)

    @torch.no_grad()
    def answers(model):
        return model.train()(**rows()).logits  # for answers alone, a processor packs them once more

    loaded, method = load(), QLoRA(r=2)
    plain = answers(loaded.model)
    model = method.apply(loaded).to("cpu")
    packed = {name: p for name, p in model.named_parameters() if p.dtype == torch.uint8}
    assert len(packed) == 6 * 2 + 1, "six matrices a layer and the pooler; the fresh head stays whole"
    assert all(".base_layer." in name for name in packed)
    before = {name: p.clone() for name, p in packed.items()}
    start = answers(model)
    assert 0 < (start - plain).abs().max() < plain.abs().max()
    model(**rows()).logits.square().sum().backward()
    assert all(p.grad is not None for _, p in learning(model))
    told = answers(moved(model))
    assert all(torch.equal(before[name], p) for name, p in packed.items())
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(answers(method.restore(load(), tmp_path).to("cpu")), told)
