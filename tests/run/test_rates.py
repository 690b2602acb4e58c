"""The peak rate where nobody names one: a method's own, its authors' on a large base, that of pre-training from random weights."""

import json
from types import SimpleNamespace

import pytest

from rootstock import catalog
from rootstock.core.objective import Objective
from rootstock.run import choices

TRAINED = {"small": (22_700_000, "bert"), "large": (110_000_000, "bert"), "t5": (220_000_000, "t5"), "unknown": (None, "bert")}
WANTED = {
    ("full", "small"): 2e-4, ("full", "large"): 3e-5, ("full", "t5"): 2e-4, ("full", "unknown"): 2e-4,
    ("lora", "small"): 1e-3, ("lora", "large"): 4e-4, ("feature-extraction", "large"): 2e-2,
}  # fmt: skip


def base(folder, parameters, kind):
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return SimpleNamespace(scratch=None, parameters=parameters, folder=folder, name="some/base")


@pytest.mark.parametrize(("method", "size"), WANTED)
def test_a_large_base_takes_the_rate_of_its_authors_and_says_so(method, size, tmp_path):
    said, unnamed = [], SimpleNamespace(training=SimpleNamespace(rate=None))
    method, task = catalog.find("methods", method)(), catalog.find("tasks", "text-classification")(labels=("a", "b"))
    found = choices.rate(unnamed, base(tmp_path, *TRAINED[size]), method, task, said.append)
    assert found == WANTED[catalog.name_of("methods", type(method)), size]
    assert said == ([] if found == method.rate else [f"training  a rate of {found:g}, not {method.rate:g}: some/base is no small base"])


def test_nothing_is_said_of_a_rate_that_the_recipe_names(tmp_path):
    said, named = [], SimpleNamespace(training=SimpleNamespace(rate=1e-4))
    choices.rate(named, base(tmp_path, *TRAINED["large"]), catalog.find("methods", "full")(), None, said.append)
    assert said == []


@pytest.mark.parametrize(("task", "wanted"), [("text-classification", 2e-4), ("text-generation", Objective.rate)])
def test_random_weights_that_write_take_the_rate_of_pre_training(task, wanted):
    scratch = SimpleNamespace(scratch="bert-tiny", parameters=110_000_000)
    found = choices.rate(SimpleNamespace(), scratch, catalog.find("methods", "full")(), catalog.find("tasks", task), print)
    assert found == wanted
