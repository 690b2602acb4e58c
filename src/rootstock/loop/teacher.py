"""A student's loss beside its teacher: distillation.

loss = (1 - weight) * L(labels) + weight * T^2 * KL(teacher at T || student at T) (Hinton et al. 2015, arXiv:1503.02531), and where hidden
states are learned as well + hidden * mean((W h_student - h_teacher)^2), as in TinyBERT (Jiao et al. 2020, arXiv:1909.10351) but on the mean
over a row's tokens, so that both may read other tokens. W is a linear map of each layer's own, which learns and is then thrown away.

Shape letters: B rows, T tokens, L pairs of layers, H and K the student's and the teacher's width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core import layers
from rootstock.core.errors import BaseError
from rootstock.core.recipe import TeacherSettings
from rootstock.core.rows import ALONE, TEACHER, TEACHER_HIDDEN
from rootstock.core.task import Batch, Scored

MAPS = "teacher_maps"
"""Name under which a student holds its maps while it learns."""
Seen = Callable[[], Tensor]


def beside(task: Scored, teacher: TeacherSettings, scores: Tensor, batch: Batch, hidden_BLK: Tensor | None) -> Tensor:
    """Losses by labels and teacher [B]; of a row without a label by the teacher alone."""
    taught_B = task.taught(scores, batch[TEACHER], teacher.temperature)
    weight_B = torch.where(batch[ALONE], 1.0, teacher.weight) if ALONE in batch else teacher.weight
    found_B = weight_B * taught_B + (1 - weight_B) * task.losses(scores, batch)
    if hidden_BLK is None:
        return found_B
    apart_B = (hidden_BLK - batch[TEACHER_HIDDEN]).square().mean((1, 2))
    return found_B + teacher.hidden * task.items(batch) * apart_B


def matched(student: int, teacher: int, wanted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs of blocks, counted from 1; where none are wanted, each of the student's with the teacher's at the same share of the depth."""
    pairs = list(wanted) or [(each, max(1, round(each * teacher / student))) for each in range(1, student + 1)]
    for pair in pairs:
        for place, count, whose in zip(pair, (student, teacher), ("student", "teacher"), strict=True):
            if not 1 <= place <= count:
                raise BaseError(
                    f"teacher.layers names block {place} of the {whose}",
                    wanted=f"1 to {count}",
                    fix="correct teacher.layers, or leave it out",
                )
    return pairs


class Maps(nn.Module):
    """From the student's width to the teacher's, one map for each of the student's blocks that is compared, in one piece: a list of modules
    would be taken for a stack of blocks."""

    def __init__(self, places: Sequence[int], width: int, wanted: int) -> None:
        super().__init__()
        self.places = tuple(places)
        self.maps_LHK = nn.Parameter(torch.empty(len(places), width, wanted))
        for map_HK in self.maps_LHK:
            nn.init.normal_(map_HK, std=width**-0.5)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Mapped states in fp32, [B, L, K]."""
        states_BLH = torch.stack(list(states), 1).to(self.maps_LHK.dtype)
        return torch.einsum("blh,lhk->blk", states_BLH, self.maps_LHK).float()


def dismiss(model: nn.Module) -> None:
    """Take the maps out of a student that has learned."""
    if hasattr(model, MAPS):
        delattr(model, MAPS)


@contextmanager
def watched(model: nn.Module, teacher: TeacherSettings) -> Iterator[Callable[[], Tensor | None]]:
    """Within it the model's hidden states are kept; what it gives tells them, mapped to the teacher's width, after a pass."""
    maps = getattr(model, MAPS, None)
    if not teacher.run or maps is None:
        yield lambda: None
        return
    with pooled(model, maps.places) as states:
        yield lambda: maps(states())


@contextmanager
def pooled(model: nn.Module, places: Sequence[int]) -> Iterator[Callable[[], list[Tensor]]]:
    """Within it, what chosen blocks (from 1) give in a pass is kept; the function gives their means over a row's tokens, each [B, H]."""
    held: dict[int, Tensor] = {}
    masks: list[Tensor] = []

    def keep(place: int) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            held[place] = out[0] if isinstance(out, tuple) else out

        return hook

    def see(_: nn.Module, __: tuple[Any, ...], named: dict[str, Any]) -> None:
        masks[:] = [named["attention_mask"]] if named.get("attention_mask") is not None else []

    blocks = layers.blocks(model)
    hooks = [blocks[place - 1].register_forward_hook(keep(place)) for place in dict.fromkeys(places)]
    hooks.append(model.register_forward_pre_hook(see, with_kwargs=True))
    try:
        yield lambda: [mean(held[place], masks[0] if masks else None) for place in places]
    finally:
        for each in hooks:
            each.remove()


def mean(states_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The mean of hidden states over the real tokens of a row, [B, H]; of an image over all its places."""
    if mask_BT is None:
        return states_BTH.mean(1)
    if mask_BT.shape != states_BTH.shape[:2]:
        raise BaseError(
            f"the blocks give states {list(states_BTH.shape)} for tokens {list(mask_BT.shape)}",
            wanted="a state for each token of each row",
            fix="leave teacher.hidden out",
        )
    kept_BT1 = mask_BT[..., None].to(states_BTH.dtype)
    return (states_BTH * kept_BT1).sum(1) / kept_BT1.sum(1).clamp(min=1)
