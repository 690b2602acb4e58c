"""Which rows of an update have no number for a loss."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from rootstock.core.mode import in_mode
from rootstock.core.task import Batch, Loss


def offending(
    model: nn.Module, rows: np.ndarray, *, loss: Callable[[nn.Module, Batch], Loss], batches: Callable[[np.ndarray], Iterable[Batch]]
) -> tuple[int, ...]:
    """Those whose own loss, without dropout, is infinite or no number; none where only all together gave none."""
    found = []
    with torch.no_grad(), in_mode(model, training=False):
        for place, row in enumerate(rows):
            if not all(torch.isfinite(loss(model, batch).total).item() for batch in batches(rows[place : place + 1])):
                found.append(int(row))
    return tuple(found)
