"""Any tuner by its name, and a word for those that can't be had."""

import pytest
import torch
from tests.methods.conftest import HEAD, answers, moved

from rootstock import catalog
from rootstock.core.errors import MergeRefused, RecipeError, UnknownName
from rootstock.core.method import learning
from rootstock.methods.peft import OtherTuner, kinds

SMALL = {
    "vblora": {"vector_length": 16, "num_vectors": 8},
    "fourierft": {"n_frequency": 20},
    "c3a": {"block_size": 16},
    "miss": {"r": 8},
}
"""What a base of 32 dimensions needs where peft's defaults are for wider ones."""


@pytest.mark.parametrize("kind", ["hra", "oft", "loha", "lokr", "fourierft", "vblora", "randlora", "c3a", "miss"])
def test_a_tuner_learns_and_folds_by_its_name(load, kind):
    method = OtherTuner.build({"kind": kind, "options": SMALL.get(kind, {})}, "method")
    method.check(HEAD, {"model_type": "bert"})
    loaded = load()
    before = answers(loaded.model)
    model = method.apply(loaded)
    assert loaded.fresh <= {method.original(name) for name, _ in learning(model)}
    told = answers(moved(model, but=loaded.fresh))
    assert (told - before).abs().max() > 1e-4
    torch.testing.assert_close(answers(method.merge(model)), told, rtol=1e-3, atol=1e-3)


def test_kinds_are_those_of_the_library():
    from peft import PeftType

    known = {kind.value.lower() for kind in PeftType}
    assert set(kinds()) <= known
    assert len(kinds()) > 20
    assert not {"lora", "ia3", "xlora", "poly"} & set(kinds())


@pytest.mark.parametrize("name", ["hra", "HRA", "fourierft"])
def test_a_kind_given_as_a_method_is_answered_with_how_to_ask(name):
    with pytest.raises(UnknownName) as unknown:
        catalog.find("methods", name)
    assert unknown.value.fix == f"--method peft --set method.kind={name.lower()}"


def test_a_misspelt_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'adalora'"):
        catalog.find("methods", "adalorra")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "vera"}, "--method vera"),
        ({"kind": "ln_tuning"}, "--method layer-norm"),
        ({"kind": "poly"}, "name its task"),
        ({"kind": "nothing"}, "one of adamss"),
    ],
)
def test_a_kind_that_can_not_be_had_says_why(settings, told):
    with pytest.raises(RecipeError, match=told):
        OtherTuner.build(settings, "method")


@pytest.mark.parametrize(
    ("options", "told"), [({"rr": 4}, "did you mean 'r'"), ({"r": 4, "apply_GS": 1, "task": 1}, "no option task"), ({"r": -1}, "")]
)
def test_options_are_checked_before_anything_is_loaded(options, told):
    method = OtherTuner(kind="hra", options=options)
    if not told:
        method.check(HEAD, {"model_type": "bert"})  # what peft finds out only later is told when it is applied
        return
    with pytest.raises(RecipeError, match=told):
        method.check(HEAD, {"model_type": "bert"})


def test_what_peft_can_not_fold_is_said(load):
    method = OtherTuner(kind="lily")
    with pytest.raises(MergeRefused, match="can't fold lily"):
        method.merge(method.apply(load()))
