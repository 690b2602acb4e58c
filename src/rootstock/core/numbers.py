"""Number formats of what passes through a model."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def convert(model: nn.Module, dtype: torch.dtype, fresh: Collection[str] = ()) -> list[RemovableHandle]:
    """Put a model's weights into a format, but for modules with parameters of these names: they stay in fp32, and get fp32.

    Returns the hooks that see to it.
    """
    hooks: list[RemovableHandle] = []
    if dtype == torch.float32:
        return hooks
    for buffer in model.buffers():
        if buffer.dim() > 1 and buffer.is_floating_point():  # matrices that do not learn, such as shared random projections
            buffer.data = buffer.data.to(dtype)
    for name, module in model.named_modules():
        if any(f"{name}.{key}".lstrip(".") in fresh for key, _ in module.named_parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(to_fp32))
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point():  # weights of four bits stay packed
                parameter.data = parameter.data.to(dtype)
    return hooks


def to_fp32(_: nn.Module, arguments: tuple[object, ...]) -> tuple[object, ...]:
    """A forward pre-hook: a module whose weights are in fp32 gets its inputs so."""
    return tuple(a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments)
