"""Layers of a base that serve rows of many adapters at once, each row by its own.

Shape letters: B rows, T tokens, I and O numbers that a layer takes and gives, R rank, S slots.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.serving.packed import Layout

NOBODY = 0
"""The slot of rows that have no adapter."""


class Unshareable(Exception):
    """A model that has to be answered by itself, and why."""


@dataclass(frozen=True)
class Group:
    """Rows of one adapter, side by side in a batch."""

    slot: int
    start: int
    stop: int


class Plan:
    """Which rows of the batch that passes now are whose. laid: where their tokens lie, if they pass without padding."""

    def __init__(self, groups: Sequence[Group], device: torch.device, laid: Layout | None = None) -> None:
        self.groups, self.rows, self.laid = groups, groups[-1].stop, laid
        self.slots = frozenset(group.slot for group in groups)
        whose = [group.slot for group in groups for _ in range(group.start, group.stop)]
        whose += [NOBODY] * (len(laid.grid_BW) - self.rows if laid else 0)
        self.slot_B = torch.tensor(whose, device=device)
        """Of each row; a layout's grid has more of them, which are nobody's."""

    def lies(self, given: Tensor) -> bool:
        """Whether what a layer takes is all tokens as they lie. Raise Unshareable where it does not stand row by row either."""
        if self.laid is not None and self.laid.fits(given):
            return True
        if len(given) != self.rows:
            raise Unshareable("its base uses an adapted layer on what is no row of the batch")
        return False

    def parts(self, given: Tensor) -> list[tuple[int, Tensor]]:
        """Each group's slot, and its share of what a layer takes."""
        if self.laid is None or not self.lies(given):
            return [(group.slot, given[group.start : group.stop]) for group in self.groups]
        ends = [*(self.laid.ends[group.stop] for group in self.groups[:-1]), self.laid.tokens]
        starts = [0, *ends[:-1]]
        return [(group.slot, given[:, start:end]) for group, start, end in zip(self.groups, starts, ends, strict=True)]


class Now(threading.local):
    """The plan of the batch that passes on this thread."""

    plan: Plan | None = None

    @contextmanager
    def passing(self, plan: Plan) -> Iterator[None]:
        """Inside, layers answer by this plan."""
        self.plan = plan
        try:
            yield
        finally:
            self.plan = None


class LowRank(nn.Module):
    """A layer of the base, and for each slot B·A beside it: two batched products for all rows, whatever their adapters.

    A rank below the highest is filled up with zeros. One product with all adapters' A side by side and a mask took 2.3 ms where these take
    0.45 (20 adapters of rank 8 over 64 rows of 24 tokens, and 2.3 ms for the layer itself); one product an adapter takes 1.1.
    """

    def __init__(self, layer: nn.Module, now: Now) -> None:
        super().__init__()
        self.layer, self.now, self._held = layer, now, frozenset[int]()
        self._both: tuple[Tensor, Tensor] | None = None  # together, so that a batch never sees one of them from before a growth

    @torch.no_grad()
    def put(self, slot: int, update: tuple[Tensor, Tensor]) -> None:
        """Give a slot its update, A and B. Batches that pass meanwhile have no row of it."""
        down_RI, up_OR = update
        rank = len(down_RI)
        down_SRI, up_SRO = self._room(slot, rank, down_RI, up_OR)
        for held, given in ((down_SRI, down_RI), (up_SRO, up_OR.T)):
            held[slot].zero_()
            held[slot, :rank] = given.to(held)
        self._held |= {slot}

    def _room(self, slot: int, rank: int, down_RI: Tensor, up_OR: Tensor) -> tuple[Tensor, Tensor]:
        """The tensors of all slots, made wider where this one does not fit."""
        held = self._both
        slots, most = (held[0].shape[0], held[0].shape[1]) if held is not None else (0, 0)
        if held is not None and slot < slots and rank <= most:
            return held
        wider, deeper = max(slots, 1 << slot.bit_length(), 2), max(most, rank)
        like = next((p for p in self.layer.parameters() if p.is_floating_point()), down_RI)
        made = tuple(torch.zeros(wider, deeper, width, dtype=like.dtype, device=like.device) for width in (down_RI.shape[1], len(up_OR)))
        if held is not None:
            for new, old in zip(made, held, strict=True):
                new[:slots, :most] = old
        self._both = made[0], made[1]
        return self._both

    def clear(self, slot: int) -> None:
        """The slot has no update here any more."""
        self._held -= {slot}

    def forward(self, given: Tensor) -> Tensor:
        """[B, T, I] to [B, T, O]."""
        out: Tensor = self.layer(given)
        plan = self.now.plan
        if plan is None or not (plan.slots & self._held) or self._both is None:
            return out
        down_SRI, up_SRO = self._both
        if len(plan.slots) == 1:
            slot = plan.groups[0].slot
            return out.add_((given @ down_SRI[slot].T) @ up_SRO[slot])
        lies, slot_B = plan.lies(given), plan.slot_B
        if not plan.slots <= self._held:
            slot_B = slot_B.where(torch.isin(slot_B, torch.tensor(sorted(self._held), device=slot_B.device)), NOBODY)
        if lies and plan.laid is not None:
            low_BWR = torch.bmm(plan.laid.grid(given), down_SRI[slot_B].transpose(1, 2))
            return out.add_(plan.laid.flat(torch.bmm(low_BWR, up_SRO[slot_B])))
        slot_B = slot_B[: plan.rows]
        low_BTR = torch.bmm(given.view(plan.rows, -1, given.shape[-1]), down_SRI[slot_B].transpose(1, 2))
        return torch.baddbmm(out.view(plan.rows, -1, out.shape[-1]), low_BTR, up_SRO[slot_B]).view(out.shape)


class Whole(nn.Module):
    """A layer that some adapters replace: theirs in fp32, as heads are."""

    def __init__(self, layer: nn.Module, now: Now) -> None:
        super().__init__()
        self.layer, self.now, self._own = layer, now, dict[int, nn.Module]()

    def put(self, slot: int, layer: nn.Module) -> None:
        """Give a slot a layer of its own."""
        self._own = {**self._own, slot: layer}

    def clear(self, slot: int) -> None:
        """The slot has the base's layer again."""
        self._own = {each: layer for each, layer in self._own.items() if each != slot}

    def forward(self, given: Tensor) -> Any:
        """Each group by its own."""
        own, plan = self._own, self.now.plan
        if plan is None or not (plan.slots & own.keys()):
            return self.layer(given)
        found = [own[slot](part.float()) if slot in own else self.layer(part).float() for slot, part in plan.parts(given)]
        return torch.cat(found, dim=int(plan.lies(given)))
