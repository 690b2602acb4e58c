"""What the architecture of a config holds, by name and shape: built on the meta device, without memory for a weight."""

from pathlib import Path
from typing import Any

import torch

from rootstock.bases import scratch
from rootstock.bases.blank import NOT_SHAPES, config_of
from rootstock.core.errors import BaseError
from rootstock.sentinel.integrity.configured import Expected


def expected(folder: Path) -> Expected | None:
    """Shapes, ties and prefix of the class that config.json names; None where transformers has no such class, or can't build it."""
    import transformers

    values = config_of(str(folder))
    named = values.get("architectures")
    cls = getattr(transformers, str(named[0]), None) if isinstance(named, list) and named else None
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        return None
    scratch.register(values.get("model_type"))
    try:
        config = transformers.AutoConfig.for_model(**{key: value for key, value in values.items() if key not in NOT_SHAPES})
        with torch.device("meta"):
            model: Any = cls(config)
            model.tie_weights()
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ImportError) as error:
        raise BaseError(
            f"{folder / 'config.json'} describes no model that can be built: {error}", wanted="the config of these weights"
        ) from error
    groups: dict[int, list[str]] = {}
    held = model.state_dict(keep_vars=True)
    for name, tensor in held.items():
        groups.setdefault(id(tensor), []).append(name)
    tied = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    return Expected({name: tuple(tensor.shape) for name, tensor in held.items()}, tied, str(model.base_model_prefix or ""))
