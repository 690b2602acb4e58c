"""A step against the embeddings that hurts most, learned from as well (the fast gradient method on texts).

Miyato et al. 2017, arXiv:1605.07725: r = epsilon * g / |g| of each row, g the gradient of its embedded tokens. They normalise the table
first, so that epsilon means something; here it is a share of the length of the row's embedded tokens, whatever the base's scale.
Shape letters: B rows, T tokens, H width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.objective import Coupled
from rootstock.core.task import Loss, Task

Backward = Callable[[Tensor], None]


def attacked(model: nn.Module, loss: Callable[[], Loss], backward: Backward, epsilon: float) -> Loss:
    """Gradients of the mean of the loss and the loss under attack; returns the former. Every row counts as before.

    The embedded tokens are moved, not their table, so that rows don't disturb each other and cores may work on the same weights.
    """
    seen: list[Tensor] = []
    with _hooked(model, lambda out_BTH: _kept(out_BTH, seen)):
        plain = loss()
    backward(plain.total / 2)
    gradient_BTH = seen[0].grad
    assert gradient_BTH is not None
    length_B11 = torch.linalg.vector_norm(gradient_BTH.float(), dim=(1, 2), keepdim=True)
    reach_B11 = epsilon * torch.linalg.vector_norm(seen[0].detach().float(), dim=(1, 2), keepdim=True)
    moved_BTH = (reach_B11 * gradient_BTH.float() / length_B11.clamp(min=1e-12)).to(gradient_BTH.dtype)
    with _hooked(model, lambda out_BTH: out_BTH + moved_BTH):
        backward(loss().total / 2)
    return plain


def _kept(out_BTH: Tensor, seen: list[Tensor]) -> Tensor:
    """The embedded tokens, their gradient to be kept; frozen ones are made to have one."""
    if not out_BTH.requires_grad:
        out_BTH = out_BTH.detach().requires_grad_()
    out_BTH.retain_grad()
    seen.append(out_BTH)
    return out_BTH


@contextmanager
def _hooked(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    def hook(_: nn.Module, __: Any, out_BTH: Tensor) -> Tensor:
        return change(out_BTH)

    handle = embeddings(model).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def attackable(model: nn.Module, task: Task) -> None:
    """Refuse what can't be attacked: RecipeError for a loss that couples rows, BaseError for a model without embeddings."""
    if isinstance(task, Coupled):
        raise RecipeError(
            "training.adversary is set, and the loss couples the rows of an update", wanted="a loss of each row", fix="leave it out"
        )
    if task.packs:
        raise RecipeError("training.adversary is set, and rows share lines", wanted="rows of their own", fix="leave out task.packing")
    embeddings(model)


def embeddings(model: Any) -> nn.Module:
    """The layer that embeds tokens; BaseError where a model has none, such as a head on cached vectors."""
    try:
        found: nn.Module = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        raise BaseError(
            "there are no embeddings to attack: only a head learns here",
            wanted="a method that runs the base in each update",
            fix="choose --method full or lora, or leave training.adversary out",
        ) from None
    return found
