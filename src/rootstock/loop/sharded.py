"""A model of which each worker holds a shard: parameters, gradients and moments (FSDP2), gathered a block at a time when a pass needs it.

What learns is a twin of the model whose parameters are torch's DTensors. The optimizer works on each worker's own part of them as plain
tensors, so that it needs to know nothing of shards. The model itself is empty meanwhile; its weights come back to the first worker at the
end, which needs room for all of them once.
"""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from rootstock.core import layers
from rootstock.loop.checkpoint import Rows
from rootstock.loop.world import World, meeting


class Sharded:
    """This worker's shards of a model. learner: the twin that the loop trains. The rest is as in `precision.Weights`."""

    def __init__(self, model: nn.Module, world: World, dtype: torch.dtype, fresh: Collection[str] = (), *, offload: bool = False) -> None:
        self._model, self._world = model, world
        shared: dict[int, object] = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in model.parameters()}
        self.learner = copy.deepcopy(model, shared | {id(buffer): buffer for buffer in model.buffers()})
        _shard(self.learner, world, dtype, fresh, offload)
        for parameter in model.parameters():
            parameter.data = parameter.data.new_empty(0)
        self._parameters: dict[str, Any] = dict(self.learner.named_parameters())
        live = {name: p for name, p in self._parameters.items() if p.requires_grad}
        self.names = list(live)
        self.masters = {name: nn.Parameter(p.to_local()) for name, p in live.items()}
        self.rows = {name: _rows(p, world) for name, p in live.items()}

    def pull(self, names: Iterable[str], members: Sequence[Mapping[str, Any]]) -> None:
        """Give these masters the gradients of this worker's shards, which torch has summed over the workers."""
        for name in names:
            (member,) = members
            gradient, member[name].grad = member[name].grad, None
            self.masters[name].grad = None if gradient is None else gradient.to_local()

    def push(self, names: Iterable[str] | None = None) -> None:
        """Nothing: the masters are the shards themselves."""

    def state(self) -> dict[str, Tensor]:
        """Name to this worker's part of the fp32 value of all that learns."""
        return {name: master.data for name, master in self.masters.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take this worker's parts of the values of all that learns; the names must be just these."""
        for name, master in self.masters.items():
            master.copy_(state[name])

    @torch.no_grad()
    def restore(self) -> None:
        """Put the whole weights into the model of the first worker. All take part."""
        for parameter, shard in zip(self._model.parameters(), self._parameters.values(), strict=True):
            with meeting():
                whole = shard.full_tensor()
            if self._world.first:
                parameter.data = whole.to(whole.device, copy=True)


def _rows(parameter: Any, world: World) -> Rows:
    """Which rows of a parameter are this worker's: FSDP2 cuts as torch.chunk does."""
    total, each = len(parameter), -(-len(parameter) // world.size)
    start = min(world.rank * each, total)
    return start, min(start + each, total), total


def _shard(model: nn.Module, world: World, dtype: torch.dtype, fresh: Collection[str], offload: bool) -> None:
    """Blocks, and modules that the checkpoint lacked, are gathered by themselves; all else together, at the start of a pass.

    Gradients are summed and not averaged: the loop divides once. gloo has sums only, so they are asked for by name.
    """
    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (world.size,))
    policy = OffloadPolicy() if not offload else CPUOffloadPolicy()
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
