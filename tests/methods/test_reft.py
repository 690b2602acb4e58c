"""LoReFT's edit against its definition, and read again without this package."""

import re
from pathlib import Path

import pytest
import torch
from tests.methods.conftest import answers, moved, rows

from rootstock.bases import save as saving
from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head
from rootstock.core.method import learning
from rootstock.methods.reft import Edit, ReFT


@torch.no_grad()
def test_the_edit_moves_states_inside_its_space_only():
    torch.manual_seed(0)
    edit, hidden = Edit(8, 3, 0), torch.randn(2, 5, 8)
    torch.testing.assert_close(edit(hidden), hidden)
    edit.source.weight.normal_()
    edit.source.bias.normal_()
    rows_RH = edit.directions_HR.T  # still orthonormal: it has not learned
    expected = hidden + (hidden @ edit.source.weight.T + edit.source.bias - hidden @ rows_RH.T) @ rows_RH
    torch.testing.assert_close(edit(hidden), expected)
    edit.directions_HR.normal_()
    basis = torch.linalg.qr(edit.directions_HR)[0]
    outside = torch.eye(8) - basis @ basis.T
    torch.testing.assert_close(edit(hidden) @ outside, hidden @ outside)
    assert not torch.allclose(edit(hidden), hidden, atol=0.1)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "llama"])
def test_an_edited_model_starts_as_its_base_with_an_edit_a_layer(load, family):
    loaded = load(family)
    expected = answers(loaded.model)
    model = ReFT(r=2).apply(loaded)
    torch.testing.assert_close(answers(model), expected, rtol=1e-4, atol=1e-4)
    assert len({name for name, _ in learning(model)} - loaded.fresh) == 3 * 2


def test_only_the_first_positions_are_edited(load):
    seen = []
    model = moved(ReFT(first=2).apply(load()))
    block = model.bert.encoder.layer[0]
    block._forward_hooks.move_to_end(next(iter(block._forward_hooks)))
    edits, block._forward_hooks = dict(block._forward_hooks), type(block._forward_hooks)()
    block.register_forward_hook(lambda _, __, left: seen.append(left))
    for hook in edits.values():
        block.register_forward_hook(hook)
    block.register_forward_hook(lambda _, __, left: seen.append(left))
    answers(model)
    before, after = (each[0] if isinstance(each, tuple) else each for each in seen)
    assert torch.equal(before[:, 2:], after[:, 2:])
    assert not torch.allclose(before[:, :2], after[:, :2], atol=1e-3)


def test_first_positions_make_no_sense_word_by_word():
    with pytest.raises(RecipeError, match="word by word"):
        ReFT(first=1).check(Head(auto="AutoModelForCausalLM"), {})
    ReFT().check(Head(auto="AutoModelForCausalLM"), {})


@pytest.mark.parametrize("first", [0, 2])
def test_it_loads_without_this_package_as_the_page_says(load, tmp_path, first):
    method = ReFT(first=first)
    model = moved(method.apply(load()))
    saving.save_model(method.keep(model), None, tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text("utf-8")
    (code,) = re.findall(r"<!-- example: reft -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    told = {}
    exec(compile(code, "adapters.md", "exec"), told)
    layers = load().model
    torch.testing.assert_close(answers(told["with_edits"](layers, layers.bert.encoder.layer, str(tmp_path)), rows()), answers(model))
