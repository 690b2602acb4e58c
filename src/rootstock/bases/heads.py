"""A base under the heads of several parts: loaded for each, its body kept once."""

from typing import Any

from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved
from rootstock.core.heads import Heads
from rootstock.core.loaded import Head, Loaded


def load(base: Resolved, head: Head, **how: Any) -> Loaded:
    """As `load.load`, for a head of one part or of several."""
    if not head.parts:
        return bases.load(base, head, **how)
    made = {name: bases.load(base, each, **how) for name, each in head.parts.items()}
    fresh = {id(p) for each in made.values() for name, p in each.model.named_parameters() if name in each.fresh}
    heads = Heads({name: each.model for name, each in made.items()})
    return Loaded(heads, head, frozenset(name for name, p in heads.named_parameters() if id(p) in fresh))


def fit(tokens: Any, model: Any) -> None:
    """As `load.fit`, for each part."""
    for each in [model.part(name) for name in model.names] if isinstance(model, Heads) else [model]:
        bases.fit(tokens, each)
