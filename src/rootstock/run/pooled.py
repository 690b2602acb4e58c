"""A headless encoder as the search for task-agnostic backdoors sees it: token ids in, one vector a text out.

Shape letters: B texts, T tokens, H width.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.core.tokens import around
from rootstock.loop import precision

_TOKENS = 6144
"""Tokens that pass at once."""


class Pooled:
    """Vectors of texts by a model without a head: the mean over a text's tokens beside the output at its first one.

    Both are looked at, each at length 1: a planted vector may stand in either place, and what collapses one collapses half of the sum.
    """

    def __init__(self, model: nn.Module, tokens: Any) -> None:
        self._model, self._device = model.eval().requires_grad_(False), next(model.parameters()).device
        dtype = precision.choose("auto", self._device.type)
        if dtype != torch.float32:
            self._model = copy.deepcopy(self._model)
            precision.Weights(self._model, dtype)
        self._before, self._after = around(tokens)

    def __call__(self, bodies: Sequence[Sequence[int]]) -> np.ndarray:
        """Vectors [B, 2H], of texts of one length at a time."""
        found: dict[int, np.ndarray] = {}
        with torch.inference_mode():
            for chosen in self._batches(bodies):
                ids_BT = torch.tensor([(*self._before, *bodies[i], *self._after) for i in chosen], device=self._device)
                hidden_BTH = self._model(input_ids=ids_BT).last_hidden_state.float()
                parts = hidden_BTH.mean(1), hidden_BTH[:, 0]
                rows = torch.cat([nn.functional.normalize(part, dim=1) for part in parts], dim=1).cpu().numpy()
                found.update(zip(chosen, rows, strict=True))
        return np.stack([found[i] for i in range(len(bodies))])

    def _batches(self, bodies: Sequence[Sequence[int]]) -> list[list[int]]:
        lengths: dict[int, list[int]] = {}
        for i, body in enumerate(bodies):
            lengths.setdefault(len(body), []).append(i)
        made = []
        for length, places in lengths.items():
            step = max(1, _TOKENS // (length + len(self._before) + len(self._after)))
            made += [places[first : first + step] for first in range(0, len(places), step)]
        return made
