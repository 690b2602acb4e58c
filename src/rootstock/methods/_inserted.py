"""Small modules that a method hangs beside the base's own by hooks, and how they are saved: plain tensors by name, and a JSON file.

A hook is a bound method of the module that it runs, so that a copy of the model runs its own copy of the module.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, MergeRefused
from rootstock.core.method import learning

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Beside(nn.Module):
    """A model whose inserted modules and fresh head are all that is saved of it. tensors: what; None: all that learned."""

    def __init__(self, model: nn.Module, facts: dict[str, Any], tensors: Callable[[], Mapping[str, Tensor]] | None = None) -> None:
        super().__init__()
        self.model, self.facts = model, facts
        self._tensors = tensors or (lambda: dict(learning(model)))

    @property
    def config(self) -> Any:
        """The base's."""
        return self.model.config

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """As the model."""
        return self.model(*arguments, **named)

    def save_pretrained(self, folder: Path) -> None:
        """Write the tensors under their names in the model, and the facts that say where they belong."""
        tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in self._tensors().items()}
        save_file(tensors, Path(folder) / WEIGHTS, metadata={"format": "pt"})
        artifact.write_json(Path(folder) / CONFIG, self.facts)


@torch.no_grad()
def restored(model: nn.Module, folder: Path) -> nn.Module:
    """A model with its modules inserted anew takes what was saved; ContractRefused where the tensors are not just those."""
    saved, wanted = load_file(folder / WEIGHTS), dict(learning(model))
    wrong = sorted(name for name in {*saved, *wanted} if name not in saved or name not in wanted or saved[name].shape != wanted[name].shape)
    if wrong:
        raise ContractRefused(
            f"{len(wrong)} adapter tensors of {folder} did not find their place, such as {wrong[0]}",
            wanted="the base that it was trained on",
        )
    for name, parameter in wanted.items():
        parameter.copy_(saved[name])
    return model


def refuse_merge(what: str) -> MergeRefused:
    """What `merge` raises: the architecture itself is another."""
    return MergeRefused(f"{what} can't be folded into weights", wanted="an update of weights", fix="use the adapter unmerged")
