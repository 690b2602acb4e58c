"""Another attention function where a model uses torch's fused one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def attending(model: nn.Module, name: str, attend: Callable[..., Any], *, wanted: bool = True) -> Iterator[None]:
    """Inside, each part of the model that uses torch's fused attention calls `attend`, where `wanted`. name: in transformers' registry."""
    found = _fused(model) if wanted else []
    if found:
        _register(name, attend)
    for config in found:
        config._attn_implementation_internal = name  # the setter would go on to parts that must keep their own
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


def _register(name: str, attend: Callable[..., Any]) -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, sdpa_mask)
