"""A model of which each worker holds a part: parameters, gradients and moments.

What learns is a twin of the model whose parameters are torch's DTensors, cut by FSDP2 (`fsdp`: gathered a block at a time when a pass needs
them) or by transformers' tensor-parallel plan (`tensored.cut`: each worker computes with its columns or rows). The optimizer works on each
worker's own part of them as plain tensors, so that it needs to know nothing of shards. The model itself is empty meanwhile; its weights
come back to the first worker at the end, which needs room for all of them once.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from rootstock.core import layers
from rootstock.core.numbers import convert
from rootstock.loop.checkpoint import Rows, narrowed
from rootstock.loop.world import World, meeting

Cut = Callable[[nn.Module, World], Collection[str]]
"""Makes DTensors of a model's parameters; returns the names of those left whole whose gradients are sums over the workers."""


class Sharded:
    """This worker's part of a model. learner: the twin that the loop trains. The rest is as in `precision.Weights`.

    dtype: of the twin, but for modules with `fresh` parameters; the masters are in fp32. FSDP2 has formats of its own: see `fsdp`.
    """

    def __init__(
        self, model: nn.Module, world: World, cut: Cut, *, dtype: torch.dtype = torch.float32, fresh: Collection[str] = ()
    ) -> None:
        self._model, self._world, self._half = model, world, dtype != torch.float32
        shared: dict[int, object] = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in model.parameters()}
        self.learner = copy.deepcopy(model, shared | {id(buffer): buffer for buffer in model.buffers()})
        convert(self.learner, dtype, fresh)
        self._summed = sorted(cut(self.learner, world))
        self._parameters: dict[str, Any] = dict(self.learner.named_parameters())
        live = {name: p for name, p in self._parameters.items() if p.requires_grad}
        self.names = list(live)
        self.rows = {name: _rows(p, world) for name, p in live.items() if _axis(p) is not None}
        whole = dict(zip(self._parameters, model.parameters(), strict=True))
        self.masters = {name: nn.Parameter(self._master(name, p, whole[name].data)) for name, p in live.items()}
        self._copies = {name: p for name, p in live.items() if p.dtype != torch.float32}
        for name, parameter in whole.items():
            if name in live or not self._kept:
                parameter.data = parameter.data.new_empty(0)

    @property
    def _kept(self) -> bool:
        """Whether this worker keeps what does not learn as it was: a copy in bf16 could not give it back."""
        return self._half and self._world.first

    def _master(self, name: str, parameter: Tensor, whole: Tensor) -> Tensor:
        """The fp32 values of this worker's part: the part itself where it is in fp32."""
        if parameter.dtype == torch.float32:
            return _local(parameter.data)
        return (narrowed(whole, self.rows[name]) if name in self.rows else whole).clone()

    def pull(self, names: Iterable[str], members: Sequence[Mapping[str, Any]]) -> None:
        """Give these masters the gradients of this worker's part, summed over the workers where each has a share of the sum."""
        (member,) = members
        chosen = set(names)
        for name in self._summed:
            if name in chosen and (gradient := member[name].grad) is not None:
                with meeting():
                    dist.all_reduce(gradient)
        for name in sorted(chosen):  # the same on all: some talk
            gradient, member[name].grad = member[name].grad, None
            self.masters[name].grad = None if gradient is None else _cut_alike(gradient, member[name]).float()

    def counted(self, names: Iterable[str]) -> list[str]:
        """Those whose gradients count here in the norm over all workers: what is whole on each counts once."""
        return [name for name in names if self._world.first or name in self.rows]

    @torch.no_grad()
    def push(self, names: Iterable[str] | None = None) -> None:
        """Bring these masters' new values (all of them where none is named) into the twin, where they are not its own parts."""
        for name in self.names if names is None else names:
            if name in self._copies:
                _local(self._copies[name].data).copy_(self.masters[name])

    def state(self) -> dict[str, Tensor]:
        """Name to this worker's part of the fp32 value of all that learns."""
        return {name: master.data for name, master in self.masters.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take this worker's parts of the values of all that learns; the names must be just these."""
        for name, master in self.masters.items():
            master.copy_(state[name])
        self.push()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the whole weights into the model of the first worker. All take part."""
        for parameter, (name, shard) in zip(self._model.parameters(), self._parameters.items(), strict=True):
            if self._half and name not in self.masters:
                continue
            part = shard.data if name not in self._copies else _like(self.masters[name].data, shard)
            with meeting():
                whole = part.full_tensor() if isinstance(part, DTensor) else part
            if self._world.first:
                parameter.data = whole.to(whole.device, copy=True)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _like(part: Tensor, parameter: Tensor) -> Tensor:
    """A worker's part in the layout of a parameter."""
    if not isinstance(parameter, DTensor):
        return part
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride())


def _cut_alike(gradient: Tensor, parameter: Tensor) -> Tensor:
    """This worker's part of a gradient. It comes in the layout in which torch had it at hand, whole or as a sum still to be made."""
    if isinstance(gradient, DTensor) and isinstance(parameter, DTensor) and gradient.placements != parameter.placements:
        with meeting():
            gradient = gradient.redistribute(placements=parameter.placements)
    return _local(gradient)


def _axis(parameter: Tensor) -> int | None:
    """Along which axis it is cut; None where each worker holds all of it."""
    (placement,) = parameter.placements if isinstance(parameter, DTensor) else (None,)
    return placement.dim % parameter.dim() if isinstance(placement, Shard) else None


def _rows(parameter: Tensor, world: World) -> Rows:
    """Which rows or columns of a parameter are this worker's: DTensors are cut as torch.chunk does."""
    axis = _axis(parameter) or 0
    total = parameter.shape[axis]
    each = -(-total // world.size)
    start = min(world.rank * each, total)
    return Rows(start, min(start + each, total), total, axis)


def fsdp(dtype: torch.dtype, fresh: Collection[str] = (), *, offload: bool = False) -> Cut:
    """FSDP2's way to cut a model. fresh: parameters that compute in fp32. offload: shards stay in the machine's memory."""

    def cut(model: nn.Module, world: World) -> Collection[str]:
        _shard(model, world, dtype, fresh, offload)
        return ()

    return cut


def _shard(model: nn.Module, world: World, dtype: torch.dtype, fresh: Collection[str], offload: bool) -> None:
    """Blocks, and modules that the checkpoint lacked, are gathered by themselves; all else together, at the start of a pass.

    Gradients are summed and not averaged: the loop divides once. gloo has sums only, so they are asked for by name.
    """
    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (world.size,))
    policy = OffloadPolicy() if not offload else CPUOffloadPolicy(pin_memory=kind != "cpu")
    half = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32) if dtype != torch.float32 else MixedPrecisionPolicy()
    for block in layers.blocks(model):
        fully_shard(block, mesh=mesh, mp_policy=half, offload_policy=policy)
    for module in _apart(model, fresh) if dtype != torch.float32 else ():
        fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.float32), offload_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=half, offload_policy=policy)
    for each in model.modules():
        if isinstance(each, FSDPModule):
            each.set_gradient_divide_factor(1.0)
            each.set_force_sum_reduction_for_comms(True)


def _apart(model: nn.Module, fresh: Collection[str]) -> list[nn.Module]:
    """Modules with fresh parameters of their own, which compute in fp32 (see `precision.Weights`); the output layer of words does not."""
    whole: Any = model
    output = whole.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    named = {name.rpartition(".")[0] for name in fresh}
    return [module for name, module in model.named_modules() if name in named and name and module is not output]
