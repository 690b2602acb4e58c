"""A base that ends after some of its blocks: smaller, quicker, and still a plain transformers model."""

from typing import Any

from torch import nn

from rootstock.core import layers


def truncate(model: Any, count: int) -> None:
    """Leave the lowest `count` blocks of the model (of its encoder, where it has one). ValueError where it has no such stack."""
    stack, config = _stack(model), model.config
    total = len(stack)
    if getattr(config, "num_hidden_layers", None) != total:
        raise ValueError("its blocks are not one stack that can be cut")
    if count > total:
        raise ValueError(f"the base has {total} blocks, and what block {count} leaves is asked for")
    del stack[count:]
    config.num_hidden_layers = count
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == total:  # a kind for each block, such as layer_types
            setattr(config, name, value[:count])


def _stack(model: nn.Module) -> nn.ModuleList:
    lowest = next(iter(layers.blocks(model)), None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and lowest is not None and len(module) and module[0] is lowest:
            return module
    raise ValueError("it has no stack of blocks")
