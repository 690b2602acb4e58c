"""A step against the embeddings that hurts most, learned from as well (the fast gradient method on texts).

Miyato et al. 2017, arXiv:1605.07725: r = epsilon * g / |g| of each row, g the gradient of its embedded tokens. They normalise the table
first, so that epsilon means something; here it is a share of the length of the row's embedded tokens, whatever the base's scale. Padding,
of which no loss knows, counts for nothing. Of encoder and decoder the encoder is attacked.
Shape letters: B rows, T tokens, H width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core.coupled import Coupled
from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.task import Loss

Backward = Callable[[Tensor], None]


def attacked(model: nn.Module, loss: Callable[[], Loss], backward: Backward, epsilon: float) -> Loss:
    """Gradients of the mean of the loss and the loss under attack; returns the former. Every row counts as before.

    The embedded tokens are moved, not their table, so that rows don't disturb each other and cores may work on the same weights.
    """
    seen: list[Tensor] = []
    with hooked(model, lambda out_BTH: _kept(out_BTH, seen)):
        plain = loss()
    backward(plain.total / 2)
    moves = iter([_move(each_BTH, epsilon) for each_BTH in seen])
    with hooked(model, lambda out_BTH: out_BTH + next(moves)):
        backward(loss().total / 2)
    return plain


def _move(embedded_BTH: Tensor, epsilon: float) -> Tensor:
    """By how much the embedded tokens of one pass are moved; a loss may take several passes, of these rows or of parts of them."""
    gradient_BTH = torch.zeros_like(embedded_BTH) if embedded_BTH.grad is None else embedded_BTH.grad
    read_BT1 = (gradient_BTH != 0).any(-1, keepdim=True)
    reach_B11 = epsilon * torch.linalg.vector_norm(embedded_BTH.detach().float() * read_BT1, dim=(1, 2), keepdim=True)
    length_B11 = torch.linalg.vector_norm(gradient_BTH.float(), dim=(1, 2), keepdim=True)
    moved_BTH: Tensor = reach_B11 * gradient_BTH.float() / length_B11.clamp(min=1e-12)
    return moved_BTH.to(embedded_BTH.dtype)


def _kept(out_BTH: Tensor, seen: list[Tensor]) -> Tensor:
    """The embedded tokens, their gradient to be kept; frozen ones are made to have one."""
    if not out_BTH.requires_grad:
        out_BTH = out_BTH.detach().requires_grad_()
    out_BTH.retain_grad()
    seen.append(out_BTH)
    return out_BTH


@contextmanager
def hooked(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it the model's embeddings give what `change` makes of them."""

    def hook(_: nn.Module, __: Any, out_BTH: Any) -> Tensor:
        if not isinstance(out_BTH, Tensor) or out_BTH.dim() != 3:
            raise BaseError(
                f"the embeddings of {type(model).__name__} are not one vector for each token",
                wanted="a base that embeds each token or patch by itself",
                fix="leave training.adversary and training.mixup out, or choose another base",
            )
        return change(out_BTH)

    handle = embeddings(model).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def attackable(model: nn.Module, task: object) -> None:
    """Refuse what can't be attacked: RecipeError for a loss that couples rows, BaseError for a model without embeddings."""
    if isinstance(task, Coupled):
        raise RecipeError(
            "training.adversary is set, and the loss couples the rows of an update", wanted="a loss of each row", fix="leave it out"
        )
    embeddings(model)


def embeddings(model: Any, purpose: str = "to attack", key: str = "training.adversary") -> nn.Module:
    """The layer that embeds tokens; BaseError where a model has none, such as a head on cached vectors."""
    try:
        both = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
        found: nn.Module | None = (model.get_encoder() if both else model).get_input_embeddings()
    except (AttributeError, NotImplementedError):
        found = None
    if found is None:
        raise BaseError(
            f"there are no embeddings {purpose}, as where only a head learns",
            wanted="a method that runs the base in each update",
            fix=f"choose --method full or lora, or leave {key} out",
        )
    return found
