"""A causal language model as an ONNX graph that goes on: besides tokens it takes, and gives, what attention keeps of those before.

Shape letters: B rows in a batch, T tokens of this call, P tokens before, S = P + T, K key heads, D width of a head, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from rootstock.bases import graph
from rootstock.core.errors import UsageError

IDS, MASK, LOGITS = "input_ids", "attention_mask", "logits"
_FIX = "export it --to gguf or --to merged"
_ROWS, _NOW, _PAST = 2, 3, 4
"""Sizes of the batch that is traced: all different and none 1, so that no dimension is taken for a fixed one."""


@dataclass(frozen=True)
class Shape:
    """Of what is kept: of each layer keys and values, [B, K, P, D]."""

    layers: int
    heads: int
    width: int

    @property
    def names(self) -> list[str]:
        """Of the parts, in the order in which they go in and come out."""
        return [f"{layer}.{part}" for layer in range(self.layers) for part in ("key", "value")]

    def empty(self, rows: int) -> dict[str, np.ndarray]:
        """Nothing is kept yet."""
        return {f"past.{name}": np.zeros((rows, self.heads, 0, self.width), np.float32) for name in self.names}


def shape_of(plain: Any) -> Shape:
    """What a model keeps of a token. UsageError where that isn't keys and values of all tokens, alike in each layer."""
    with torch.no_grad():
        kept = plain(input_ids=torch.tensor([[1, 2]]), use_cache=True).past_key_values
    parts = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in getattr(kept, "layers", ())]
    shapes = {tuple(each.shape) if isinstance(each, Tensor) else () for layer in parts for each in layer}
    config = plain.config
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if len(shapes) != 1 or len(shape := next(iter(shapes))) != 4 or shape[2] != 2 or slides:
        raise UsageError(
            f"{type(plain).__name__} keeps something else than keys and values of all tokens", wanted="a plain transformer", fix=_FIX
        )
    return Shape(len(parts), shape[1], shape[3])


def mask_of(ids_BT: Tensor, mask_BS: Tensor) -> Tensor:
    """What each token adds to its scores, [B, 1, T, S]: it sees itself and what stands before it, of that what is no padding."""
    now, whole = ids_BT.shape[1], mask_BS.shape[1]
    place_T = torch.arange(whole, device=ids_BT.device)[whole - now :]
    seen_TS = torch.arange(whole, device=ids_BT.device)[None, :] <= place_T[:, None]
    seen_BTS = seen_TS[None] & (mask_BS[:, None, :] > 0)
    return torch.where(seen_BTS, 0.0, torch.finfo(torch.float32).min)[:, None]


class _Going(nn.Module):
    """The model with its memory spread out: tensors in, tensors out."""

    def __init__(self, plain: Any, shape: Shape) -> None:
        super().__init__()
        self.plain, self.shape = plain, shape

    def forward(self, ids_BT: Tensor, mask_BS: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        from transformers import DynamicCache

        kept = DynamicCache()
        for layer in range(self.shape.layers):
            kept.update(past[2 * layer], past[2 * layer + 1], layer)
        places_BT = (mask_BS.cumsum(-1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
        made = self.plain(
            input_ids=ids_BT, attention_mask=mask_of(ids_BT, mask_BS), position_ids=places_BT, past_key_values=kept, use_cache=True
        )
        held = made.past_key_values.layers
        return (made.logits.float(), *(part for layer in held for part in (layer.keys, layer.values)))


def write(plain: Any, shape: Shape, path: Path) -> None:
    """Trace it; the dimensions of rows, tokens and what was before are free."""
    ids = torch.ones((_ROWS, _NOW), dtype=torch.int64)
    mask = torch.ones((_ROWS, _PAST + _NOW), dtype=torch.int64)
    past = [torch.zeros((_ROWS, shape.heads, _PAST, shape.width)) for _ in shape.names]
    parts = graph.Parts(
        inputs=[IDS, MASK, *(f"past.{name}" for name in shape.names)],
        outputs=[LOGITS, *(f"present.{name}" for name in shape.names)],
        sample=[ids, mask, *past],
        axes=({0: "rows", 1: "tokens"}, {0: "rows", 1: "all_tokens"}, tuple({0: "rows", 2: "before"} for _ in past)),
    )
    before = plain.config._attn_implementation
    plain.set_attn_implementation("eager")
    try:
        graph.trace(_Going(plain, shape).eval(), parts, path, name=type(plain).__name__)
    finally:
        plain.set_attn_implementation(before)


class Session(nn.Module):
    """The graph, asked for logits, in a model's place where batches are gone through."""

    def __init__(self, path: Path, shape: Shape, *, threads: int) -> None:
        super().__init__()
        self.shape, self.session = shape, graph.session(path, threads=threads)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: it answers several threads."""
        return self

    def logits(self, ids_BT: np.ndarray, mask_BT: np.ndarray, *, cut: int = 0) -> np.ndarray:
        """[B, T, V]. cut: after so many tokens it goes on with what it kept; 0: all at once."""
        held: Mapping[str, np.ndarray] = self.shape.empty(len(ids_BT))
        made = []
        for first, last in ((0, cut), (cut, ids_BT.shape[1])):
            if last > first:
                given = {IDS: ids_BT[:, first:last], MASK: mask_BT[:, :last], **held}
                logits_BTV, *parts = self.session.run(None, given)
                held = {f"past.{name}": part for name, part in zip(self.shape.names, parts, strict=True)}
                made.append(logits_BTV)
        return np.concatenate(made, 1)
