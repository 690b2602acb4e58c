"""Bottlenecks against their definition, in their three places, and read again without this package."""

import re
from pathlib import Path

import pytest
import torch
from tests.methods.conftest import HEAD, answers, moved, rows

from rootstock.bases import save as saving
from rootstock.core.errors import RecipeError
from rootstock.core.method import learning
from rootstock.methods.adapter import Adapter

LAYER = "bert.encoder.layer.0"
PLACES = ["houlsby", "pfeiffer", "parallel"]


def formula(bottleneck, given):
    return bottleneck.scale * (
        torch.relu(given @ bottleneck.down.weight.T + bottleneck.down.bias) @ bottleneck.up.weight.T + bottleneck.up.bias
    )


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "deberta-v2", "modernbert", "llama"])
@pytest.mark.parametrize(("place", "count"), [("houlsby", 4), ("pfeiffer", 2), ("parallel", 2)])
def test_an_adapted_model_starts_as_its_base(load, family, place, count):
    loaded = load(family)
    expected, method = answers(loaded.model), Adapter(place=place, size=4)
    model = method.apply(loaded)
    assert torch.equal(answers(model), expected)
    added = {name for name, _ in learning(model)} - loaded.fresh
    assert len(added) == 4 * count, "two layers of two matrices and two biases each"
    assert (answers(moved(model, but=loaded.fresh)) - expected).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("place", PLACES)
def test_what_closes_a_part_leaves_its_own_and_what_the_bottleneck_adds(load, place):
    model = moved(Adapter(place=place, size=4).apply(load()))
    seen = {}
    feedforward = model.get_submodule(f"{LAYER}.intermediate.dense"), model.get_submodule(f"{LAYER}.output.dense")
    feedforward[0].register_forward_pre_hook(lambda _, given: seen.update(read=given[0]))
    feedforward[1].register_forward_pre_hook(lambda _, given: seen.update(inner=given[0]))
    feedforward[1].register_forward_hook(lambda _, __, left: seen.update(left=left))
    answers(model)
    own = torch.nn.functional.linear(seen["inner"], feedforward[1].weight, feedforward[1].bias)
    added = formula(feedforward[1].adapter, seen["read"] if place == "parallel" else own)
    assert feedforward[1].adapter.scale == (4 if place == "parallel" else 1)
    torch.testing.assert_close(seen["left"], own + added)
    assert hasattr(model.get_submodule(f"{LAYER}.attention.output.dense"), "adapter") == (place == "houlsby")


def test_an_unknown_architecture_is_refused_before_it_is_loaded():
    with pytest.raises(RecipeError, match="kind unheard-of is not known"):
        Adapter().check(HEAD, {"model_type": "unheard-of"})


@pytest.mark.parametrize("place", PLACES)
def test_it_loads_without_this_package_as_the_page_says(load, tmp_path, place):
    method = Adapter(place=place, size=4)
    model = moved(method.apply(load()))
    saving.save_model(method.keep(model), None, tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text("utf-8")
    (code,) = re.findall(r"<!-- example: adapter -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    told = {}
    exec(compile(code, "adapters.md", "exec"), told)
    torch.testing.assert_close(answers(told["with_adapter"](load().model, str(tmp_path)), rows()), answers(model))
