"""What all methods share that peft carries out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method, Saved


class InPeft(Method, ABC):
    """A method whose result is peft's own model: it saves and loads in peft's format, and folds where peft folds it."""

    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 4
    saves: ClassVar[str] = "adapter"

    def original(self, name: str) -> str:
        """The name without what peft wrapped around it."""
        from rootstock.methods import _peft

        return _peft.original(name)

    def merge(self, model: nn.Module) -> nn.Module:
        """The updates folded into the weights."""
        from rootstock.methods import _peft

        return _peft.merged(model)

    def saved(self, folder: Path) -> Saved | None:
        """Where it is a LoRA and no more."""
        from rootstock.methods import _peft

        return _peft.saved(folder) if self.packed is None else None

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base with the adapter that `folder` holds."""
        from rootstock.methods import _peft

        return _peft.restored(loaded, folder)


class Tuner(InPeft, ABC):
    """A method that changes what some matrices of the base do; which, peft knows for most architectures."""

    targets: tuple[str, ...] = ()
    """Names of the adapted modules. Empty: those that peft names for the architecture; all-linear adapts every matrix."""

    @abstractmethod
    def tuned(self) -> tuple[str, dict[str, Any]]:
        """The kind in peft's words, such as "boft", and the settings of its config but for the targets."""

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError where peft refuses the settings, or knows no modules of this architecture and none are named."""
        from rootstock.methods import _peft

        kind, settings = self.tuned()
        _peft.check(kind, settings, self.targets, config)

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze the base, inject what learns; the fresh head learns too."""
        from rootstock.methods import _peft

        kind, settings = self.tuned()
        return _peft.wrap(loaded, _peft.config_name(kind), target_modules=_peft.targets(self.targets), **settings)
