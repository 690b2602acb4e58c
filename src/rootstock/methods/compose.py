"""Build on trained adapters of other runs over one base, LoRA or bottlenecks: mix, average or add them up, or stack a new one on them.

Prefer it to lora where adapters of related tasks are there and rows are few: fuse learns little more than how much of each is wanted.
fuse has AdapterFusion's aim with a weight for each adapter and place in place of attention, so that the result is again one adapter.
Pfeiffer et al. 2021, https://arxiv.org/abs/2005.00247; Huang et al. 2024, https://arxiv.org/abs/2307.13269
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Saved, learning, train_only
from rootstock.core.runfolder import RunFolder
from rootstock.methods import _bottleneck, _inserted
from rootstock.methods._tuner import InPeft

Update = tuple[Tensor, Tensor]
"""A [R, in] and B [out, R] of an adapter, B with its scale: the matrix changes by B·A."""


class Composed(nn.Module):
    """W x + Σ share · B·A x over the given updates, and where stacked a new update that learns."""

    def __init__(self, base_layer: nn.Module, updates: Sequence[Update], share: float, rank: int, scale: float) -> None:
        super().__init__()
        self.base_layer = base_layer
        device = next(base_layer.parameters()).device
        down_RI, up_OR = (torch.cat(parts, dim).to(device) for parts, dim in zip(zip(*updates, strict=True), (0, 1), strict=True))
        self.down, self.up = nn.Parameter(down_RI), nn.Parameter(up_OR)
        self.shares = nn.Parameter(torch.full((len(updates),), share, device=device))
        self.ranks = [len(down) for down, _ in updates]
        self.scale = scale
        if rank:
            self.new_down, self.new_up = (
                nn.Parameter(down_RI.new_empty(rank, down_RI.shape[1])),
                nn.Parameter(up_OR.new_zeros(len(up_OR), rank)),
            )
            nn.init.kaiming_uniform_(self.new_down, a=5**0.5)

    def _each(self) -> Tensor:
        """The share of each direction, [R]."""
        return torch.cat([share.expand(rank) for share, rank in zip(self.shares, self.ranks, strict=True)])

    def forward(self, given: Tensor) -> Tensor:
        """What the matrix gives, changed."""
        functional = nn.functional
        output: Tensor = self.base_layer(given) + functional.linear(functional.linear(given, self.down) * self._each(), self.up)
        if hasattr(self, "new_down"):
            output = output + self.scale * functional.linear(functional.linear(given, self.new_down), self.new_up)
        return output

    @torch.no_grad()
    def update(self) -> Update:
        """All of it as one update."""
        if not hasattr(self, "new_down"):
            return self.down, self.up * self._each()
        return torch.cat([self.down, self.new_down]), torch.cat([self.up * self._each(), self.scale * self.new_up], 1)


class Compose(InPeft):
    """The base and the given adapters stay as they are; the new head learns, and what `how` says. What is left is one plain adapter."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 1e-3
    trained: ClassVar[float] = 0.02

    on: tuple[str, ...] = ()
    """Runs with method lora, rslora or compose, or all with adapter, or their model folders, over the very base of this run."""
    how: Literal["fuse", "average", "parallel", "stack"] = "fuse"
    """fuse: learn a weight for each adapter at each place, from equal shares on. average: equal shares stay, only the head learns.
    parallel: the same of the adapters' whole sum. stack: the whole sum stays, and a new one learns beside it."""
    r: int = Field(default=8, ge=1)
    """Rank of the new update of stack, or width of its new bottleneck."""
    alpha: float = Field(default=16, gt=0)
    """Scale of the new update of stack, used as alpha / r; a new bottleneck has the scale that is usual where it stands."""

    @property
    def builds_on(self) -> tuple[str, ...]:
        """The adapters, which are held to their contracts before anything is loaded."""
        return self.on

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError where no adapter is named, or one is of a kind that does not add up, with others or at all."""
        from rootstock.methods import _peft

        if not self.on:
            raise RecipeError(
                "method.on names no adapter",
                wanted="runs with lora over this base",
                fix="give --set method.on=[runs/a,runs/b], or choose --method lora",
            )
        if self._bend:
            self._trained()
            return
        for each in self.on:
            _peft.lora_updates(RunFolder(Path(each)).model)

    def _share(self, count: int) -> float:
        """Of each of so many adapters at one place, to begin with."""
        return 1.0 if self.how in ("parallel", "stack") else 1 / count

    @property
    def _bend(self) -> bool:
        """Whether the adapters are bottlenecks, as the first of them says."""
        return bool(self.on) and _bottleneck.is_one(RunFolder(Path(self.on[0])).model)

    def _trained(self) -> list[_bottleneck.Trained]:
        """The bottlenecks that are named; RecipeError where they stand in different places."""
        found = [_bottleneck.trained(RunFolder(Path(each)).model) for each in self.on]
        if len(places := {each.place for each in found}) > 1:
            raise RecipeError(
                f"the adapters of method.on stand in different places: {', '.join(sorted(places))}",
                wanted="one placement, so that what is left is one adapter",
                fix="name adapters with the same method.place",
            )
        return found

    @property
    def leaves(self) -> str:
        """An adapter; of bottlenecks, as nothing folds them, what stands beside a base as heads do."""
        return "head" if self._bend else self.saves

    def apply(self, loaded: Loaded) -> nn.Module:
        """Put the adapters beside the matrices that they change; the fresh head learns, and what `how` says."""
        return self._bent(loaded) if self._bend else self._added(loaded)

    def _bent(self, loaded: Loaded) -> nn.Module:
        """Bottlenecks side by side in their places."""
        found, place = self._trained(), self._trained()[0].place

        def make(name: str, width: int) -> _bottleneck.Mixed:
            new = _bottleneck.Bottleneck(width, self.r, _bottleneck.usual_scale(place)) if self.how == "stack" else None
            if any(name not in each.held for each in found):
                raise ValueError(f"an adapter has no bottleneck at {name}, where this model has a place for one")
            return _bottleneck.Mixed([each.held[name] for each in found], self._share(len(found)), new)

        held = _bottleneck.insert(loaded.model, place, make)
        begins = {"fuse": "shares", "stack": "new."}.get(self.how, "nothing")
        learned = {f"{name}.{part}" for name, each in held.items() for part, _ in each.named_parameters() if part.startswith(begins)}
        self._check_learns(learned | loaded.fresh)
        train_only(loaded.model, loaded.fresh | learned)
        return loaded.model

    def _check_learns(self, names: Collection[str]) -> None:
        if not names:
            raise ValueError(f"with method.how={self.how} only a fresh head learns, and this task answers with the base's own")

    def _added(self, loaded: Loaded) -> nn.Module:
        """Low-rank updates beside the matrices that they change."""
        from rootstock.methods import _peft

        model, found = loaded.model, [_peft.lora_updates(RunFolder(Path(each)).model) for each in self.on]
        held = dict(model.named_modules())
        share, rank = self._share(len(self.on)), self.r if self.how == "stack" else 0
        learned = set(loaded.fresh)
        for name in sorted({name for each in found for name in each}):
            if name not in held:
                raise ValueError(f"an adapter changes {name}, and this model has no such part")
            # One that leaves this matrix alone has no share in it.
            composed = Composed(held[name], [each[name] for each in found if name in each], share, rank, self.alpha / self.r)
            model.set_submodule(name, composed)
            learned |= {f"{name}.{part}" for part in {"fuse": ["shares"], "stack": ["new_down", "new_up"]}.get(self.how, [])}
        self._check_learns(learned)
        train_only(model, {name for name, _ in model.named_parameters() if name in learned or self.original(name) in loaded.fresh})
        return model

    def groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]]:
        """Shares learn ten times as fast as the head: they begin at a size of one, where a head's weights are some hundredths."""
        shares = [name for name, _ in learning(model) if name.endswith(".shares")]
        others = [name for name, _ in learning(model) if not name.endswith(".shares")]
        return [{"names": names, "rate": each} for names, each in ((others, rate), (shares, 10 * rate)) if names]

    def keep(self, model: nn.Module) -> nn.Module:
        """The same as one LoRA of peft, its rank the sum of all ranks; of bottlenecks as one adapter, as wide as all of them."""
        from rootstock.methods import _peft

        if bent := {name: module for name, module in model.named_modules() if isinstance(module, _bottleneck.Mixed)}:
            return self._one(model, bent)
        composed = {name: module for name, module in model.named_modules() if isinstance(module, Composed)}
        if not composed:
            return model
        fresh = frozenset(self.original(name) for name, _ in learning(model) if name.rpartition(".")[0] not in composed)
        updates = {name: module.update() for name, module in composed.items()}
        for name, module in composed.items():
            model.set_submodule(name, module.base_layer)
        return _peft.as_lora(model, updates, fresh)

    def _one(self, model: nn.Module, bent: Mapping[str, _bottleneck.Mixed]) -> nn.Module:
        size = len(next(iter(bent.values())).one()["down.bias"])
        facts = {"method": "adapter", "place": self._trained()[0].place, "size": size, "scale": 1.0}

        def tensors() -> dict[str, Tensor]:
            heads = {name: parameter for name, parameter in learning(model) if not name.startswith(tuple(f"{each}." for each in bent))}
            return {**heads, **{f"{name}.{part}": value for name, each in bent.items() for part, value in each.one().items()}}

        return _inserted.Beside(model, facts, tensors)

    def merge(self, model: nn.Module) -> nn.Module:
        """The mixed updates folded into the weights; MergeRefused where bottlenecks bend."""
        if isinstance(model, _inserted.Beside) or any(isinstance(each, _bottleneck.Mixed) for each in model.modules()):
            raise _inserted.refuse_merge("a bottleneck")
        return super().merge(self.keep(model))

    def saved(self, folder: Path) -> Saved | None:
        """What is beside the base, where it is a LoRA and no more."""
        return None if _bottleneck.is_one(folder) else super().saved(folder)

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base with the adapter that `folder` holds."""
        if not _bottleneck.is_one(folder):
            return super().restore(loaded, folder)
        found, fresh = _bottleneck.trained(folder), loaded.fresh
        held = _bottleneck.insert(loaded.model, found.place, lambda _, width: _bottleneck.Bottleneck(width, found.size, 1.0))
        train_only(loaded.model, fresh | {f"{name}.{part}" for name, each in held.items() for part, _ in each.named_parameters()})
        return _inserted.restored(loaded.model, folder)
