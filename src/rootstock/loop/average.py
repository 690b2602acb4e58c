"""The mean of a training's weights: what it passed through is often better than where it ended.

ema: a mean that forgets (Polyak; Tarvainen & Valpola 2017, arXiv:1703.01780). swa: the plain mean of the states in the last part of the
training (Izmailov et al. 2018, arXiv:1803.05407).
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["none", "ema", "swa"]
_WARM = 10.0
"""Updates by which the first states of an ema weigh less: its decay is at most (1 + t) / (10 + t), as in TensorFlow's."""
SWA_BEGINS = 0.5
"""Share of the training after which swa takes states: by then the rate has fallen by half, and the states lie around one place."""
_TAKEN = "taken"


class Average:
    """A mean of states, each a mapping of name to fp32 value. decay: of an ema."""

    def __init__(self, kind: Kind, decay: float) -> None:
        self._kind, self._decay = kind, decay
        self._mean: dict[str, Tensor] = {}
        self._taken = 0

    @property
    def begun(self) -> bool:
        """Whether there is a mean yet."""
        return bool(self._mean)

    @torch.no_grad()
    def take(self, state: Mapping[str, Tensor], progress: float) -> None:
        """Add a state of the training. progress: share of it that is done."""
        if self._kind == "none" or (self._kind == "swa" and progress < SWA_BEGINS):
            return
        self._taken += 1
        if not self._mean:
            self._mean = {name: value.clone() for name, value in state.items()}
            return
        kept = min(self._decay, self._taken / (_WARM - 1 + self._taken)) if self._kind == "ema" else 1 - 1 / self._taken
        torch._foreach_lerp_(list(self._mean.values()), [state[name] for name in self._mean], 1 - kept)

    def mean(self) -> dict[str, Tensor]:
        """Name to mean value."""
        return self._mean

    def state(self) -> dict[str, Tensor]:
        """What `load` takes, for a checkpoint; nothing before the first state."""
        return {**self._mean, _TAKEN: torch.tensor(self._taken)} if self._mean else {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self._mean = {name: value.clone() for name, value in state.items() if name != _TAKEN}
        self._taken = int(state[_TAKEN]) if state else 0
