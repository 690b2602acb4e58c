"""Train low-rank edits of what each layer leaves, and the fresh head (LoReFT).

Prefer it to lora where the adapter must be tiny and matrices must stay as they are: it learns some ten times less. It can't be merged.
Wu et al. 2024, https://arxiv.org/abs/2404.03592
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from rootstock.core import layers
from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method, train_only
from rootstock.methods import _inserted


class Edit(nn.Module):
    """h + Rᵀ(W h + b - R h), with rows of R at right angles: h moves inside a space of few dimensions only."""

    by_token: ClassVar[bool] = True
    """Whether its hook does the same to each token by itself; where only some are edited, the first is among them."""

    def __init__(self, width: int, rank: int, first: int) -> None:
        super().__init__()
        self.directions_HR = nn.Parameter(torch.empty(width, rank))
        nn.init.orthogonal_(self.directions_HR)
        self.source, self.first = nn.Linear(width, rank), first
        with torch.no_grad():  # W = R, b = 0: an edited model starts as its base
            self.source.weight.copy_(self.directions_HR.T)
            self.source.bias.zero_()

    def forward(self, hidden_BTH: Tensor) -> Tensor:
        """The edited states."""
        basis_HR = torch.linalg.qr(self.directions_HR.float())[0]
        # qr is free to turn a direction round; turned back, the basis is the parameter where that is orthonormal.
        basis_HR = (basis_HR * (basis_HR * self.directions_HR.float()).sum(0).sign()).to(hidden_BTH.dtype)
        moved_BTR: Tensor = self.source(hidden_BTH) - hidden_BTH @ basis_HR
        edited_BTH: Tensor = hidden_BTH + moved_BTR @ basis_HR.T
        return edited_BTH

    def after(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        """A hook on a layer, whose states are its output or the first of several."""
        hidden_BTH = output[0] if isinstance(output, tuple) else output
        edited_BTH = self(hidden_BTH)
        if self.first:
            edited_BTH = torch.cat([edited_BTH[:, : self.first], hidden_BTH[:, self.first :]], dim=1)
        return (edited_BTH, *output[1:]) if isinstance(output, tuple) else edited_BTH


class ReFT(Method):
    """After each layer a learned edit of rank r; the base's matrices stay as they were."""

    epochs: ClassVar[float] = 5
    updates: ClassVar[int] = 200
    rate: ClassVar[float] = 3e-3
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 4
    trained: ClassVar[float] = 0.001
    saves: ClassVar[str] = "adapter"
    folds: ClassVar[bool] = False

    r: int = Field(default=4, ge=1)
    """Dimensions of the edited space; the paper uses 1 to 8."""
    first: int = Field(default=0, ge=0)
    """Positions from the front whose states are edited; 0: all. The paper edits a few, which is quicker on long rows."""

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError for some positions only, where words come one by one: each would be taken for the first."""
        if self.first and head.auto in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM"):
            raise RecipeError(
                f"method.first is {self.first}, and this task writes text word by word",
                wanted="all positions",
                fix="leave method.first out",
            )

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze the base and hang an edit on each layer; they and the fresh head learn. ValueError where there are no layers."""
        edits = set()
        for block in layers.blocks(loaded.model):
            edit = Edit(loaded.width, self.r, self.first)
            block.register_forward_hook(edit.after)
            block.add_module("edit", edit)
            edits |= {id(parameter) for parameter in edit.parameters()}
        if not edits:
            raise ValueError("it has no list of layers")
        names = {name for name, parameter in loaded.model.named_parameters() if id(parameter) in edits}
        train_only(loaded.model, loaded.fresh | names)
        return loaded.model

    def keep(self, model: nn.Module) -> nn.Module:
        """The same model, saved as an adapter: only what learned."""
        return _inserted.Beside(model, {"method": "reft", **self.plain()})

    def merge(self, model: nn.Module) -> nn.Module:
        """MergeRefused: an edit stands between layers, where norms follow."""
        raise _inserted.refuse_merge("an edit between layers")

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base with the edits and the head that `folder` holds."""
        return _inserted.restored(self.apply(loaded), folder)
