"""AdamW over the masters, in one pass over memory: decay on matrices only, a gradient norm bounded without rewriting the gradients."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Optimizer:
    """AdamW whose state is a flat mapping of tensors, saved without pickle.

    groups: as Method.groups gives them (names and rate). decays: names that weight decay applies to.
    """

    def __init__(self, masters: Mapping[str, nn.Parameter], groups: list[dict[str, Any]], *, decays: set[str], decay: float) -> None:
        self._names = {id(parameter): name for name, parameter in masters.items()}
        split = []
        for group in groups:
            for decayed in (True, False):
                names = [name for name in group["names"] if (name in decays) == decayed]
                settings = {"lr": group["rate"], "peak": group["rate"], "weight_decay": decay if decayed else 0.0}
                split.append({"params": [masters[name] for name in names], **settings})
        self.inner = torch.optim.AdamW([group for group in split if group["params"]], fused=True)

    def rate(self, factor: float) -> float:
        """Set every group's rate to its peak times `factor`; returns the first group's."""
        for group in self.inner.param_groups:
            group["lr"] = group["peak"] * factor
        return float(self.inner.param_groups[0]["lr"])

    def step(self, count: int, clip: float) -> float:
        """Update from summed gradients of `count` items with their mean's norm bounded by `clip`; returns that norm before the bound."""
        gradients = [p.grad for group in self.inner.param_groups for p in group["params"] if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients)) / max(count, 1)
        # The fused kernel divides by grad_scale while it reads the gradients; it is how torch's own GradScaler speaks to it.
        scale = max(count, 1) / min(1.0, clip / (norm + 1e-6))
        self.inner.grad_scale = torch.tensor(scale, device=gradients[0].device)  # type: ignore[attr-defined]
        self.inner.found_inf = torch.tensor(0.0, device=gradients[0].device)  # type: ignore[attr-defined]
        self.inner.step()
        self.inner.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        """Adam's two moments and step by parameter name."""
        held = ((self._names[id(p)], values) for p, values in self.inner.state.items())
        return {f"{key}/{name}": value for name, values in held for key, value in values.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take a state that `state` gave; every trained parameter must be in it."""
        for group in self.inner.param_groups:
            for parameter in group["params"]:
                name = self._names[id(parameter)]
                found = {key: state[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}/{name}" in state}
                if found:
                    self.inner.state[parameter] = found


def decayed_names(model: nn.Module) -> set[str]:
    """Matrices that are no embeddings: what weight decay is meant for."""
    embedded = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters(recurse=False)}
    return {name for name, p in model.named_parameters() if p.dim() >= 2 and id(p) not in embedded}
