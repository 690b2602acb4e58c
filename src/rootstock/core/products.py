"""Attention as a processor does it best: a backward pass made of bf16 products, and a forward pass over whole vectors of keys.

torch's fused attention has no bf16 products in its backward pass: on 480 tokens of MiniLM it takes 25 ms a layer where the six products
below take 2 to 3, and half of a training step was spent in it. The softmax is taken in fp32: torch's bf16 one works on 32 numbers at once,
and a row of 30 costs five times a row of 32. What only answers keeps torch's own, given keys in multiples of 16: the rest of a row is
worked on one by one there, and 30 tokens cost 1.5 ms where 32 cost 0.75.

torch's own works on queries in blocks, and a product's order of sums depends on its shape: with one to three queries in the last block, or
with 193 to 383 keys, a row's answer has other last bits than in another batch. What is to be the same in every batch leaves these out.

Shape letters: B rows, H heads, G key heads that a query head's group shares, T queries, S keys, D width of a head.
"""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core.attention import attending

NAME = "rootstock_products"
"""What transformers' registry of attention functions calls it."""
_VECTOR = 16
"""fp32 numbers in a vector of AVX-512."""
_BLOCK = 32
"""Queries in a block of torch's fused attention; longer rows have blocks of 64 and 256."""
_TAIL = 4
"""Queries from which on the products of a last block sum as those of a whole one."""
_SPLIT, _PART = 512, 192
"""Keys in a block, and the most keys that its second product sums at once: up to 2 * _PART it takes halves instead."""


def by_products(model: nn.Module, *, wanted: bool = True, alike: bool = False) -> AbstractContextManager[None]:
    """Inside, each part of the model that uses torch's fused attention uses this one, where `wanted`.

    alike: a row gets the same bits in a batch of any shape, and in training those that it gets here wherever nothing learns.
    """
    return attending(model, f"{NAME}_alike" if alike else NAME, partial(attend, alike=True) if alike else attend, wanted=wanted)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, alike: bool = False, **told: Any
) -> tuple[Any, None]:
    """As transformers calls it: query [B, H, T, D], key and value [B, G, S, D]; gives [B, T, H, D]."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    groups, asked = getattr(module, "num_key_value_groups", 1), told.get("is_causal")
    causal = attention_mask is None and (getattr(module, "is_causal", True) if asked is None else asked) and query.shape[2] > 1
    plain = _plain(query, key, value) and not _more(attention_mask, told)
    if not learns or not plain or query.dtype != torch.bfloat16:
        count = query.shape[2]
        if plain and not learns and not causal and groups == 1:
            query, attention_mask = _filled(query, key, attention_mask)
            key, value, attention_mask = _rounded(key, value, attention_mask, alike=alike or torch.is_grad_enabled())
        found_BTHD, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **told)
        return found_BTHD[:, :count] if query.shape[2] > count else found_BTHD, None
    if causal:
        attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    scale = told.get("scaling") or query.shape[-1] ** -0.5
    out_BHTD: Tensor = _Products.apply(query, repeat_kv(key, groups), repeat_kv(value, groups), attention_mask, scale)  # type: ignore[no-untyped-call]
    return out_BHTD.transpose(1, 2).contiguous(), None


def _plain(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these are on a processor, alike in their numbers, as many rows of queries as of keys, and all heads of one width."""
    alike = query.dtype == key.dtype == value.dtype and query.device.type == "cpu"
    return alike and len(query) == len(key) and query.shape[-1] == value.shape[-1]


def _rounded(key: Tensor, value: Tensor, mask: Tensor | None, *, alike: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys and values in a multiple of _VECTOR, and a mask that keeps queries from looking at what was added.

    alike: in a number whose sums are taken in the same order as those of any other number.
    """
    more = -key.shape[2] % _VECTOR
    if alike and _PART < (key.shape[2] + more) % _SPLIT < 2 * _PART:
        more = 2 * _PART - key.shape[2] % _SPLIT
    if not more:
        return key, value, mask
    if mask is None:
        mask = torch.ones((1, 1, 1, key.shape[2]), dtype=torch.bool)
    unseen = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    pad = nn.functional.pad
    return pad(key, (0, 0, 0, more)), pad(value, (0, 0, 0, more)), pad(mask, (0, more), value=unseen)


def _filled(query: Tensor, key: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Queries whose last block is no smaller than _TAIL, and their mask; those added may look anywhere, and nobody looks at them.

    Fewer queries than keys are new tokens behind those of earlier passes, and stay as they are.
    """
    more = max(0, _TAIL - (query.shape[2] - 1) % _BLOCK - 1)
    if not more or query.shape[2] < _BLOCK or query.shape[2] != key.shape[2]:
        return query, mask
    if mask is not None and mask.shape[2] > 1:
        mask = nn.functional.pad(mask, (0, 0, 0, more), value=True if mask.dtype == torch.bool else 0)
    return nn.functional.pad(query, (0, 0, 0, more)), mask


def _more(mask: Tensor | None, told: dict[str, Any]) -> bool:
    """Whether more is asked than products and a mask that is given: dropout, or a bias that is learned."""
    learned = mask is not None and mask.requires_grad
    return bool(learned or told.get("dropout") or told.get("position_bias") is not None or told.get("softcap") is not None)


class _Products(torch.autograd.Function):
    """softmax(scale · Q·Kᵀ + mask) · V and its gradients; the mask, which takes no gradient, is True where a query may look or a sum."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """[B, H, T, D]."""
        b, h, t, d = query.shape
        query_NTD, key_NSD, value_NSD = ((part * scale if part is query else part).reshape(b * h, -1, d) for part in (query, key, value))
        scores_BHTS = torch.bmm(query_NTD, key_NSD.transpose(1, 2)).view(b, h, t, -1)
        if mask is not None:
            # the lowest number instead of an infinity: a row that may look nowhere stays finite, as in the fused kernel's own mask
            scores_BHTS = (
                scores_BHTS.masked_fill_(~mask, torch.finfo(query.dtype).min) if mask.dtype == torch.bool else scores_BHTS.add_(mask)
            )
        weights_NTS = torch.softmax(scores_BHTS.float(), -1).to(query.dtype).view(b * h, t, -1)
        ctx.save_for_backward(query_NTD, key_NSD, value_NSD, weights_NTS)
        ctx.scale = scale
        return torch.bmm(weights_NTS, value_NSD).view(b, h, t, d)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        query_NTD, key_NSD, value_NSD, weights_NTS = ctx.saved_tensors
        b, h, t, d = gradients[0].shape
        told_NTD = gradients[0].reshape(b * h, t, d)
        of_weights_NTS = torch.bmm(told_NTD, value_NSD.transpose(1, 2))
        of_scores_NTS = torch._softmax_backward_data(of_weights_NTS.float(), weights_NTS.float(), -1, torch.float32).to(told_NTD.dtype)
        of_query = torch.bmm(of_scores_NTS, key_NSD).mul_(ctx.scale)
        of_key = torch.bmm(of_scores_NTS.transpose(1, 2), query_NTD)
        of_value = torch.bmm(weights_NTS.transpose(1, 2), told_NTD)
        return of_query.view(b, h, t, d), of_key.view(b, h, -1, d), of_value.view(b, h, -1, d), None, None
