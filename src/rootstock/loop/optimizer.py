"""AdamW over the masters, in one pass over memory: decay on matrices only, a gradient norm bounded without rewriting the gradients.

The functional form of torch's AdamW is called directly: its fused kernel divides by `grad_scale` while it reads a gradient, so neither the
mean nor the clipping costs a pass; and torch.optim's classes import the compiler (a second and a half) at their first step.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from rootstock.core.errors import Diverged

_EMBEDDING = re.compile(r"embed|token|position")
"""In the names of parameters that are embeddings without being a table of them, such as ViT's cls_token and position_embeddings."""
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Optimizer:
    """AdamW whose state is a flat mapping of tensors, saved without pickle.

    groups: as Method.groups gives them (names and rate). decays: names that weight decay applies to.
    """

    def __init__(self, masters: Mapping[str, nn.Parameter], groups: list[dict[str, Any]], *, decays: set[str], decay: float) -> None:
        self._masters, self._peaks, self._factor = masters, [group["rate"] for group in groups], 1.0
        self._groups: list[tuple[list[str], float, float]] = []
        for group in groups:
            for decayed in (True, False):
                names = [name for name in group["names"] if (name in decays) == decayed]
                self._groups.append((names, group["rate"], decay if decayed else 0.0))
        self._state = {
            name: {"step": torch.zeros((), device=p.device), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            for name, p in masters.items()
        }

    def rate(self, factor: float) -> float:
        """Set every group's rate to its peak times `factor`; returns the first group's."""
        self._factor = factor
        return float(self._peaks[0] * factor)

    def norms(self, names: Iterable[str]) -> list[Tensor]:
        """Norm of each of these gradients; a parameter without one has none."""
        gradients = [gradient for name in names if (gradient := self._masters[name].grad) is not None]
        return list(torch._foreach_norm(gradients)) if gradients else []

    def scale(self, norms: Sequence[Tensor], count: int, clip: float) -> tuple[Tensor, float]:
        """By what `update` divides the summed gradients of `count` items, so that their mean's norm is at most `clip`; and that norm."""
        norm = float(torch.linalg.vector_norm(torch.stack(list(norms)))) / max(count, 1) if norms else 0.0
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm became {norm}", fix="lower training.rate, or set training.precision to fp32")
        device = next(iter(self._masters.values())).device
        return torch.tensor(max(count, 1) / min(1.0, clip / (norm + 1e-6)), device=device), norm

    @torch.no_grad()
    def update(self, names: Iterable[str], scale: Tensor) -> None:
        """Change those of these masters that have a gradient, and take it from them."""
        chosen = {name for name in names if self._masters[name].grad is not None}
        for held, peak, decay in self._groups:
            if group := [name for name in held if name in chosen]:
                self._adamw(group, peak * self._factor, decay, scale=scale)
        for name in chosen:
            self._masters[name].grad = None

    def _adamw(self, names: list[str], rate: float, decay: float, *, scale: Tensor) -> None:
        moments = [[self._state[name][key] for name in names] for key in ("exp_avg", "exp_avg_sq", "step")]
        parameters: list[Tensor] = [self._masters[name] for name in names]
        gradients = [p.grad for p in parameters if p.grad is not None]
        settings: dict[str, Any] = {"amsgrad": False, "beta1": _BETA1, "beta2": _BETA2, "eps": _EPSILON, "maximize": False, "fused": True}
        averages, squares, steps = moments
        none = torch.zeros_like(scale)
        adamw(
            parameters, gradients, averages, squares, [], steps, grad_scale=scale, found_inf=none, lr=rate, weight_decay=decay, **settings
        )

    def state(self) -> dict[str, Tensor]:
        """Adam's two moments and step by parameter name."""
        return {f"{key}/{name}": value for name, held in self._state.items() for key, value in held.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take a state that `state` gave; every trained parameter must be in it, or it is a KeyError."""
        for name, held in self._state.items():
            for key, value in held.items():
                value.copy_(state[f"{key}/{name}"])


def decayed_names(model: nn.Module) -> set[str]:
    """Matrices that are no embeddings: what weight decay is meant for."""
    embedded = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters(recurse=False)}
    matrices = {name for name, p in model.named_parameters() if p.dim() >= 2 and id(p) not in embedded}
    return {name for name in matrices if not _EMBEDDING.search(name.rsplit(".", 1)[-1])}
