"""A training step without memory and without time: the real method on the real architecture, on the meta device.

Every tensor that a step makes is counted from its making to its end, so that what a step holds at once is known and not guessed; every
product's operations are counted by torch's own formulas.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from rootstock.core.attention import attending
from rootstock.core.first_token import first_alone

NAME = "rootstock_planned"
_ATEN = torch.ops.aten
_ATTENDED: Any = sdpa_flop_count
_FUSED = _ATEN._scaled_dot_product_flash_attention_for_cpu
_FUSED_BACKWARD = _ATEN._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one micro-batch takes. flops: of forward and backward; forward: of the first alone.

    kept_bytes: what the forward pass leaves for the backward one. peak_bytes: the most that is held at once beside the weights, gradients
    included. gradient_bytes: theirs at the end.
    """

    flops: int
    forward: int
    kept_bytes: int
    peak_bytes: int
    gradient_bytes: int

    @property
    def again(self) -> "Step":
        """The same where earlier micro-batches of the update have left their gradients: they are held from the first product on."""
        return replace(self, peak_bytes=max(self.peak_bytes, self.gradient_bytes + self.kept_bytes))


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """One forward and, where anything learns, backward pass. model: on the meta device, as `loss` calls it."""
    account = _Account(model)
    with attending(model, NAME, _attend), first_alone(model), account:
        total = loss()
        kept, forward = account.now, account.flops
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        del total
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    held = sum(gradient.nbytes for gradient in gradients)
    for parameter in model.parameters():
        parameter.grad = None
    return Step(flops=account.flops, forward=forward, kept_bytes=kept, peak_bytes=account.peak, gradient_bytes=held)


class _Account(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes that are held, and operations done. Where a step asks for values, which the meta device lacks, every position is asked."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.flops = 0
        own = [*model.parameters(), *model.buffers()]
        self._known = {each.untyped_storage()._cdata for each in own}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        done = _without_values(func, args)
        if done is None:
            done = func(*args, **(kwargs or {}))
        self.flops += _flops(func, args, kwargs or {}, done)
        for tensor in tree_leaves(done):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return done

    def _hold(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _flops(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], done: Any) -> int:
    packet = func._overloadpacket
    if packet is _FUSED:
        return int(_ATTENDED(args[0].shape, args[1].shape, args[2].shape))
    if packet is _FUSED_BACKWARD:  # the two products of the forward pass once more, and four of gradients: 2.5 times in all
        return int(2.5 * _ATTENDED(args[1].shape, args[2].shape, args[3].shape))
    formula = flop_registry.get(packet)
    return int(formula(*args, **kwargs, out_val=done)) if formula else 0


def _without_values(func: Any, args: tuple[Any, ...]) -> Any:
    """What stands in for a result that depends on values: none is zero, and every place of a mask is set."""
    if func is _ATEN._local_scalar_dense.default:
        return 0
    if func is _ATEN.nonzero.default:
        return torch.empty((args[0].numel(), args[0].dim()), dtype=torch.long, device="meta")
    if func is _ATEN.index.Tensor and len(args[1]) == 1 and args[1][0] is not None and args[1][0].dtype == torch.bool:
        mask = args[1][0]
        return torch.empty((mask.numel(), *args[0].shape[mask.dim() :]), dtype=args[0].dtype, device="meta")
    return None


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **told: Any) -> tuple[Any, None]:
    from transformers.integrations.sdpa_attention import repeat_kv

    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    out_BHTD = _FUSED(query, key, value, 0.0, False, attn_mask=None, scale=told.get("scaling"))[0]
    return out_BHTD.transpose(1, 2).contiguous(), None
