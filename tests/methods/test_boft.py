"""Rotations leave angles as they are."""

import pytest
import torch
from tests.methods.conftest import moved, weights

from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head
from rootstock.methods.boft import BOFT

QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize("factors", [1, 2])
def test_the_merged_matrix_is_the_old_one_turned(load, factors):
    loaded = load()
    before, method = weights(loaded.model)[f"{QUERY}.weight"], BOFT(factors=factors)
    model = moved(method.apply(loaded), but=("boft_s", "classifier"))
    after = method.merge(model).get_submodule(QUERY).weight
    assert not torch.allclose(after, before, atol=1e-2)
    torch.testing.assert_close(after @ after.T, before @ before.T, rtol=1e-4, atol=1e-4)


def test_what_peft_refuses_is_refused_before_anything_is_loaded():
    with pytest.raises(RecipeError, match="knows no modules for boft in a base of the kind unheard-of") as refused:
        BOFT().check(Head(auto="AutoModel"), {"model_type": "unheard-of"})
    assert "method.targets" in refused.value.fix
    BOFT(targets=("all-linear",)).check(Head(auto="AutoModel"), {"model_type": "unheard-of"})
