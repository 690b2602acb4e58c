"""A model once more on the same weights, for another core."""

import copy
from collections.abc import Iterable

from torch import nn


def same_weights(model: nn.Module, shared: Iterable[object] = ()) -> nn.Module:
    """A change of one's weights is a change of both, but each has gradients and modules of its own. shared: what is not copied either."""
    kept: dict[int, object] = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in model.parameters()}
    kept |= {id(buffer): buffer for buffer in model.buffers()} | {id(each): each for each in shared}
    return copy.deepcopy(model, kept)
