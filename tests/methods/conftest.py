"""A tiny classifier whose frozen weights tell rows apart, in any family, and a batch of rows with padding."""

import pytest
import torch
from tests.conftest import make_base

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.loaded import Head
from rootstock.core.method import learning

HEAD = Head(auto="AutoModelForSequenceClassification", options={"num_labels": 3})


@pytest.fixture
def base_of(tmp_path):
    """base_of(family) is a folder with a tiny base."""
    return lambda family="bert", **changes: make_base(tmp_path / family, family, initializer_range=0.3, **changes)


@pytest.fixture
def load(base_of):
    """load(family) is a classifier with a fresh head, the same each time."""
    held = {}

    def loaded(family="bert"):
        if family not in held:
            held[family] = resolve(str(base_of(family)))
        return bases.load(held[family], HEAD, seed=1, dropout=0.0)

    return loaded


def rows():
    """Three rows of 7, 4 and 2 tokens."""
    ids = torch.randint(5, 25, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(7) < torch.tensor([7, 4, 2])[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


@torch.no_grad()
def answers(model, given=None):
    """Logits of the three rows."""
    return model.eval()(**(given or rows())).logits


@torch.no_grad()
def moved(model, but=()):
    """The model with all that learns changed, as after a training; names that hold one of `but` stay."""
    draw = torch.Generator().manual_seed(3)
    for name, parameter in learning(model):
        if not any(part in name for part in but):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model


def weights(model):
    """Values by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
