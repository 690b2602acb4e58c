"""The order of a transformers model's layers: embeddings 0, blocks 1 to L from the input up, the head and all else above them L + 1.

By it a method thaws from the top, a rate falls with depth, and what lies below the lowest part that learns is known to stay as it is.
An encoder's blocks come before its decoder's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

_BELOW = re.compile(
    r"(^|\.)(wte|wpe|shared|word_embedding|project_in|cls_token|mask_token|position_embeddings?|patch_embed\w*|pre_layrnorm)(\.|$)"
    r"|(^|\.)(embed|embeddings|embed_(?!out)\w+|embeddings_\w+|layernorm_embedding|rel_embeddings|word_embeddings\w*|emb_norm)(\.|$)"
    r"|(^|\.)encoder\.LayerNorm\.",
    re.IGNORECASE,
)
"""What stands below the blocks, by the names of the architectures; encoder.LayerNorm is DeBERTa's, of its relative positions."""


def blocks(model: nn.Module) -> list[nn.Module]:
    """The model's transformer blocks, lowest first; none where it has no stack of them."""
    return [block for _, block in _blocks(model)]


def stacked(model: nn.Module, wanted: int) -> int:
    """How many blocks the model has; ValueError where they are fewer than are wanted."""
    count = len(blocks(model))
    if count < wanted:
        raise ValueError(f"the base has {count} blocks, and {wanted} are asked for")
    return count


def named(model: nn.Module, numbers: Sequence[int]) -> int:
    """How many blocks the model has; ValueError where one of these numbers, of which 0 is the lowest block's, is of none."""
    if min(numbers) < 0:
        raise ValueError(f"there is no block {min(numbers)}: the lowest is 0")
    return stacked(model, max(numbers) + 1)


def _blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Names and blocks: the members of each list of modules of one class that lies in no other such list."""
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and not inside and len({type(each) for each in module}) == 1:
            found[name] = module
    stacks = sorted(found, key=lambda name: "decoder" in name.split("."))  # stable: otherwise as the model holds them
    return [(f"{name}.{number}", block) for name in stacks for number, block in enumerate(found[name])]


def depths(model: nn.Module) -> dict[str, int]:
    """Each parameter's place in the order. One that is used in several places counts at the highest.

    A language model's output layer is its embedding table: thawed from the top, it learns from the start, or only a norm would.
    """
    return {name: max(places) for name, places in _places(model).items()}


def lowest(model: nn.Module) -> dict[str, int]:
    """Each parameter's place in the order; one that is used in several places counts at the lowest."""
    return {name: min(places) for name, places in _places(model).items()}


def _places(model: nn.Module) -> dict[str, list[int]]:
    """Every place of each parameter, under the name that named_parameters() gives it."""
    stack = {name: number for number, (name, _) in enumerate(_blocks(model), start=1)}
    first: dict[int, str] = {}
    found: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(first.setdefault(id(parameter), name), []).append(_place(name, stack))
    return found


def _place(name: str, stack: Mapping[str, int]) -> int:
    for prefix in _prefixes(name):
        if prefix in stack:
            return stack[prefix]
    return 0 if _BELOW.search(name) else len(stack) + 1


def _prefixes(name: str) -> Iterator[str]:
    at = name.find(".")
    while at >= 0:
        yield name[:at]
        at = name.find(".", at + 1)


def frozen(model: nn.Module) -> int:
    """Blocks, counted from the lowest, that can't change: neither they nor what lies below them learns."""
    return frozen_below(model, lowest(model), len(blocks(model)))


def frozen_below(model: nn.Module, places: Mapping[str, int], count: int) -> int:
    """The same where `lowest` and the number of blocks are known. What bears another name now counts as lying below all."""
    learn = [places.get(name, 0) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return max(min([*learn, count + 1]) - 1, 0)


def decayed(groups: Sequence[Mapping[str, Any]], model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """The same optimizer groups with rates times `decay` for each layer down from the head; the highest layer comes first."""
    held = depths(model)
    top = max(held.values(), default=0)
    made = []
    for group in groups:
        for depth in sorted({held[name] for name in group["names"]}, reverse=True):
            names = [name for name in group["names"] if held[name] == depth]
            made.append({**group, "names": names, "rate": group["rate"] * decay ** (top - depth)})
    return made


GIVEN = "given/"
"""In a batch: the name, with a depth behind it, of what the block of that depth left for each token, [B, T, H]."""
