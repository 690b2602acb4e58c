"""Attention whose backward pass is made of bf16 products, for training on a processor.

torch's fused attention has no such products in its backward pass there: on 480 tokens of MiniLM it takes 25 ms a layer where the six
products below take 2 to 3, and half of a training step was spent in it. Its forward pass is good, so what only answers keeps it.

Shape letters: B rows, H heads, G key heads that a query head's group shares, T queries, S keys, D width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

NAME = "rootstock_products"
"""What transformers' registry of attention functions calls it."""


@contextmanager
def by_products(model: nn.Module, *, wanted: bool = True) -> Iterator[None]:
    """Inside, each part of the model that uses torch's fused attention uses this one, where `wanted`."""
    found = _fused(model) if wanted else []
    if found:
        _register()
    for config in found:
        config._attn_implementation_internal = NAME  # the setter would go on to parts that must keep their own
    try:
        yield
    finally:
        for config in found:
            config._attn_implementation_internal = "sdpa"


def _fused(model: nn.Module) -> list[Any]:
    """Configs of the model's parts that ask for fused attention by way of the registry, each once."""
    parts: list[Any] = [part for part in model.modules() if getattr(type(part), "_can_set_attn_implementation", lambda: False)()]
    configs = {id(part.config): part.config for part in parts}
    return [config for config in configs.values() if config._attn_implementation == "sdpa"]


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **told: Any) -> tuple[Any, None]:
    """As transformers calls it: query [B, H, T, D], key and value [B, G, S, D]; gives [B, T, H, D]."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    if not learns or not _plain(query, key, value) or _more(attention_mask, told):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **told)  # type: ignore[no-any-return]
    groups = getattr(module, "num_key_value_groups", 1)
    causal = told.get("is_causal")
    if attention_mask is None and (getattr(module, "is_causal", True) if causal is None else causal) and query.shape[2] > 1:
        attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    scale = told.get("scaling") or query.shape[-1] ** -0.5
    out_BHTD: Tensor = _Products.apply(query, repeat_kv(key, groups), repeat_kv(value, groups), attention_mask, scale)  # type: ignore[no-untyped-call]
    return out_BHTD.transpose(1, 2).contiguous(), None


def _plain(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these are bf16 numbers on a processor, as many rows of queries as of keys, and all heads of one width."""
    fast = query.dtype == key.dtype == value.dtype == torch.bfloat16 and query.device.type == "cpu"
    return fast and len(query) == len(key) and query.shape[-1] == value.shape[-1]


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
