"""Products in bf16, weights in fp32: the model computes with a bf16 copy, the optimizer keeps the fp32 masters.

Unlike autocast the copy is made once an update, the residual stream stays in bf16, and frozen weights are never converted again.
Modules that the checkpoint lacked (the head) stay in fp32: they are small, and their answers are the ones that get measured.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

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
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        if dtype != torch.float32:
            self._convert(dtype, fresh)
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        held = dict(model.named_parameters())
        self._live = [held[name] for name in self.names]
        self.masters = [
            p if p.dtype == torch.float32 else nn.Parameter(self._original[name]) for name, p in zip(self.names, self._live, strict=True)
        ]
        self._copied = [(m, p) for m, p in zip(self.masters, self._live, strict=True) if m is not p]

    def _convert(self, dtype: torch.dtype, fresh: Collection[str]) -> None:
        for name, module in self.model.named_modules():
            if any(f"{name}.{key}".lstrip(".") in fresh for key, _ in module.named_parameters(recurse=False)):
                self._hooks.append(module.register_forward_pre_hook(_to_fp32))
                continue
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)

    def pull(self) -> list[Tensor]:
        """Gradients of the masters that got one, in the order of `names`; the others stay without, or decay would shrink them."""
        for master, parameter in self._copied:
            master.grad = parameter.grad.float() if parameter.grad is not None else None
            parameter.grad = None
        return [master.grad for master in self.masters if master.grad is not None]

    @torch.no_grad()
    def push(self) -> None:
        """Bring the masters' new values into the copy that computes."""
        if self._copied:
            masters, copies = zip(*self._copied, strict=True)
            torch._foreach_copy_([copy.data for copy in copies], [master.data for master in masters])

    def state(self) -> dict[str, Tensor]:
        """Name to fp32 value of all that learns."""
        return dict(zip(self.names, (master.data for master in self.masters), strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Take values of all that learns; the names must be just these."""
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(state[name])
        self.push()

    def restore(self) -> None:
        """Put fp32 values into the model: masters where parameters learned, the originals elsewhere."""
        values = self._original | self.state()
        for name, parameter in self.model.named_parameters():
            parameter.data = values[name]
        for hook in self._hooks:
            hook.remove()


def _to_fp32(_: nn.Module, arguments: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments)


@contextmanager
def computing(model: nn.Module, dtype: torch.dtype, fresh: Collection[str] = ()) -> Iterator[None]:
    """The model computes in `dtype` inside, and has its fp32 weights back after."""
    weights = Weights(model, dtype, fresh)
    try:
        yield
    finally:
        weights.restore()
