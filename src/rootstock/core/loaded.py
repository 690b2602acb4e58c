"""What a task asks of a base, and the model that it gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Head:
    """The model class a task needs, by the name of its transformers Auto class, and its config values.

    parts: by name, where a task has several that share one body; then there is no class for the whole, and `auto` is empty.
    """

    auto: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, "Head"] = field(default_factory=dict)


def configs(config: Any) -> list[Any]:
    """A model's config and those of its parts, such as CLIP's half for texts and half for images."""
    parts = [getattr(config, name, None) for name in getattr(config, "sub_configs", ())]
    return [config, *(each for part in parts if part is not None for each in configs(part))]


@dataclass(frozen=True)
class Loaded:
    """A model as it came from its checkpoint.

    fresh: names of parameters that the checkpoint did not hold. They are random, so every method must leave them trainable.
    """

    model: nn.Module
    head: Head
    fresh: frozenset[str]

    @property
    def width(self) -> int:
        """Hidden size of the body; of its last stage where stages differ."""
        config: Any = self.model.config
        return int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])
