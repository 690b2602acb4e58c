"""Products in bf16, weights in fp32: the model computes with a bf16 copy, the optimizer keeps the fp32 masters.

Unlike autocast the copy is made once an update, the residual stream stays in bf16, and frozen weights are never converted again.
Modules that the checkpoint lacked (the head) stay in fp32: they are small, and their answers are the ones that get measured.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rootstock.core.numbers import convert
from rootstock.core.resources import bf16_is_fast


def choose(setting: str, device: str) -> torch.dtype:
    """The number format of products for "auto", "fp32" or "bf16"."""
    if setting == "auto":
        return torch.bfloat16 if bf16_is_fast(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[setting]


class Weights:
    """The parameters of a model in the number format of its products, and the fp32 masters of those that learn.

    In fp32 the masters are the model's own parameters. `restore` puts fp32 values back into the model.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, fresh: Collection[str] = ()) -> None:
        self.model = model
        self._original = {name: p.data for name, p in model.named_parameters()}
        self._factors = [(buffer, buffer.data) for buffer in model.buffers() if buffer.dim() > 1 and buffer.is_floating_point()]
        self._hooks = convert(model, dtype, fresh)
        live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names = list(live)
        self.masters = {name: p if p.dtype == torch.float32 else nn.Parameter(self._original[name]) for name, p in live.items()}
        self._live = {name: p for name, p in live.items() if p is not self.masters[name]}
        self._rooms: dict[str, Tensor] = {}

    def pull(self, names: Collection[str], members: Sequence[Mapping[str, nn.Parameter]]) -> None:
        """Give these masters the sum of the members' gradients; those without stay without, or decay would shrink them.

        members: the model's own parameters by name, then those of its twins. Their gradients are gone after.
        """
        summed: dict[str, Tensor] = {}
        for member in members:
            own = {name: gradient for name in names if (gradient := member[name].grad) is not None}
            self._add(own, summed)
            for name in own:
                member[name].grad = None
        for name in names:
            self.masters[name].grad = summed.get(name)

    @torch.no_grad()
    def _add(self, given: Mapping[str, Tensor], summed: dict[str, Tensor]) -> None:
        """Add a member's gradients, in fp32, all in one call. The room is kept: fresh memory for each update costs as much as the sum."""
        if later := [name for name in given if name in summed]:
            torch._foreach_add_([summed[name] for name in later], [given[name] for name in later])
        first = [name for name in given if name not in summed]
        summed.update({name: self._room(name) if name in self._live else given[name] for name in first})
        if copied := [name for name in first if name in self._live]:
            torch._foreach_copy_([summed[name] for name in copied], [given[name] for name in copied])

    def _room(self, name: str) -> Tensor:
        if name not in self._rooms:
            self._rooms[name] = torch.empty_like(self.masters[name])
        return self._rooms[name]

    @torch.no_grad()
    def push(self, names: Iterable[str] | None = None) -> None:
        """Bring these masters' new values (all of them where none is named) into the copy that computes."""
        chosen = [name for name in (self.names if names is None else names) if name in self._live]
        if chosen:
            torch._foreach_copy_([self._live[name].data for name in chosen], [self.masters[name].data for name in chosen])

    def state(self) -> dict[str, Tensor]:
        """Name to fp32 value of all that learns."""
        return {name: master.data for name, master in self.masters.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take values of all that learns; the names must be just these."""
        for name, master in self.masters.items():
            master.copy_(state[name])
        self.push()

    def restore(self) -> None:
        """Put fp32 values into the model: masters where parameters learned, the originals elsewhere."""
        values = self._original | self.state()
        for name, parameter in self.model.named_parameters():
            parameter.data = values[name]
        for buffer, held in self._factors:
            buffer.data = held
        for hook in self._hooks:
            hook.remove()


@contextmanager
def computing(model: nn.Module, dtype: torch.dtype, fresh: Collection[str] = ()) -> Iterator[None]:
    """The model computes in `dtype` inside, and has its fp32 weights back after."""
    weights = Weights(model, dtype, fresh)
    try:
        yield
    finally:
        weights.restore()
