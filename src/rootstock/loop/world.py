"""The workers of one training: processes, each with a model, who take shares of every update and agree on whatever depends on time.

All talk goes through torch.distributed: gradients through its default group (NCCL between GPUs, gloo between processors), and the small
things that a program decides by through a gloo group beside it, which waits as long as the first worker works alone. What is sent is
numbers and the bytes of arrays; no object is pickled.
"""

import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, TCPStore

from rootstock.core import worker
from rootstock.core.errors import PeerLost
from rootstock.core.worker import launched, patience_minutes

Item = TypeVar("Item")

_BUCKET = 25 << 20
"""Bytes of gradients that travel together, as in torch's DDP: smaller ones wait for each other, a larger one delays the first."""
_PATIENCE = timedelta(days=7)
"""How long the others wait for what the first does alone; whether it still lives is seen by its connection, not by time."""
_JOINING = timedelta(minutes=30)
"""How long workers wait for each other to begin, torch's own; and at least for gradients, which travel in the same group."""
GONE = "another worker is gone"
HANGS = "another worker hangs: it did not answer in time"
_LOST = ("connection closed", "connection reset", "connection refused", "broken pipe", "gloo", "nccl", "socket", "timed out", "timeout")
"""In torch's RuntimeErrors: another worker is gone."""


@dataclass(kw_only=True)
class World:
    """This worker's place among `size`. strategy: what each holds, ddp (everything), or fsdp and tensor (its part). Alone where size is 1.

    side, step, saving: groups that talk; side waits as long as the first works alone, step and saving as long as a worker may take.
    """

    rank: int = 0
    size: int = 1
    strategy: str = "ddp"
    side: Any = None
    step: Any = None
    saving: Any = None
    _time: float = field(default=0.0, init=False)

    @property
    def first(self) -> bool:
        """Whether this worker writes and prints."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Whether each worker holds only a part of the model, so that every pass through it takes all of them."""
        return self.size > 1 and self.strategy != "ddp"

    @property
    def apart(self) -> bool:
        """Whether each worker passes rows of its own; else all pass the same, each with its part of the matrices."""
        return self.strategy != "tensor"

    @property
    def draws(self) -> int:
        """Whose random numbers this worker draws: its own, or where all pass the same rows, and have to drop the same, the first one's."""
        return self.rank if self.apart else 0

    @contextmanager
    def abreast(self) -> Iterator[None]:
        """Inside, all do the same at the same time: who doesn't answer in time hangs, and is lost to the others (PeerLost)."""
        patient, self.side = self.side, self.step
        try:
            yield
        finally:
            self.side = patient

    # -- agreement ----------------------------------------------------------------------------------------------------

    def one(self, *values: float) -> tuple[float, ...]:
        """The first worker's numbers, on all. Its clock comes along, see `time`."""
        if self.size == 1:
            return values
        held = torch.tensor([*values, time.monotonic()], dtype=torch.float64)
        with meeting():
            dist.broadcast(held, 0, group=self.side)
        *told, self._time = held.tolist()
        return tuple(told)

    def time(self) -> float:
        """time.monotonic(); among several the first worker's, as it was last told: all decide by the same moment."""
        return self._time if self.size > 1 else time.monotonic()

    def any(self, flag: bool) -> bool:
        """Whether it holds for a worker."""
        if self.size == 1:
            return flag
        held = torch.tensor(float(flag))
        with meeting():
            dist.all_reduce(held, dist.ReduceOp.MAX, group=self.side)
        return bool(held)

    def wait(self) -> None:
        """For all to come this far."""
        self.any(False)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The first worker goes through alone; then the others, who find in the cache what it has computed."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()
        self.wait()

    def told(self, text: str) -> str:
        """The first worker's text, on all."""
        return self.texts(text)[0] if self.size > 1 else text

    def texts(self, text: str, group: Any = None) -> list[str]:
        """Each worker's text, by rank."""
        return [found.decode() for found in self._bytes(text.encode(), group or self.side)]

    def _bytes(self, own: bytes, group: Any) -> list[bytes]:
        sizes = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        with meeting():
            dist.all_gather(sizes, torch.tensor([len(own)]), group=group)
            room = max(1, *(int(size) for size in sizes))
            sent = torch.zeros(room, dtype=torch.uint8)
            if own:
                sent[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8)
            found = [torch.empty_like(sent) for _ in range(self.size)]
            dist.all_gather(found, sent, group=group)
        return [part[: int(size)].numpy().tobytes() for part, size in zip(found, sizes, strict=True)]

    # -- rows and answers ---------------------------------------------------------------------------------------------

    def share(self, parts: Sequence[Item]) -> list[Item]:
        """This worker's turns of a list that is the same on all."""
        return list(parts[self.rank :: self.size])

    def gathered(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows of all workers, by rank. One that had none brings no columns."""
        if self.size == 1:
            return dict(columns)
        assert not any(values.dtype.hasobject for values in columns.values()), "numpy would pickle these"
        room = io.BytesIO()
        np.savez(room, **dict(columns))  # type: ignore[arg-type]  # a column is called neither file nor allow_pickle
        told = [dict(np.load(io.BytesIO(found), allow_pickle=False)) for found in self._bytes(room.getvalue(), self.side)]
        held = [part for part in told if part]
        return {name: np.concatenate([part[name] for part in held]) for name in (held[0] if held else ())}

    # -- gradients ----------------------------------------------------------------------------------------------------

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the workers."""
        held = torch.tensor(list(values), dtype=torch.float64)
        with meeting():
            dist.all_reduce(held, group=self.side)
        return list(held.tolist())

    @torch.no_grad()
    def add(self, masters: Mapping[str, nn.Parameter]) -> None:
        """Give each of these masters the sum of all workers' gradients; one that no worker has a gradient for stays without."""
        met = torch.tensor([float(master.grad is not None) for master in masters.values()])
        with meeting():
            dist.all_reduce(met, dist.ReduceOp.MAX, group=self.side)
            chosen = [master for master, one in zip(masters.values(), met.tolist(), strict=True) if one]
            for master in chosen:
                if master.grad is None:
                    master.grad = torch.zeros_like(master)
            held = [master.grad for master in chosen if master.grad is not None]
            sent = [(part, flat := _flat(part), dist.all_reduce(flat, async_op=True)) for part in _buckets(held)]
            for part, flat, work in sent:
                work.wait()
                for gradient, summed in zip(part, torch.split(flat, [each.numel() for each in part]), strict=True):
                    gradient.copy_(summed.view_as(gradient))

    def norms(self, norms: list[Tensor]) -> list[Tensor]:
        """The norms of whole gradients from those of this worker's shards: one over all of them."""
        if not self.sharded:
            return norms
        held = torch.stack(norms).square().sum().double().reshape(1).cpu() if norms else torch.zeros(1, dtype=torch.float64)
        with meeting():
            dist.all_reduce(held, group=self.side)
        return [held.sqrt().float().squeeze()]

    def vectors(self, own_NH: Tensor) -> tuple[Tensor, int]:
        """The rows of all workers one below the other, and the place of the first of this worker's own."""
        counts = [int(count) for count in self._counts(len(own_NH))]
        room = own_NH.new_zeros((max(counts), *own_NH.shape[1:]))
        room[: len(own_NH)] = own_NH
        found = [torch.empty_like(room) for _ in counts]
        with meeting():
            dist.all_gather(found, room)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)]), sum(counts[: self.rank])

    def _counts(self, own: int) -> list[float]:
        return self.total([float(own) if rank == self.rank else 0.0 for rank in range(self.size)])


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    part: list[Tensor] = []
    for gradient in gradients:
        part.append(gradient)
        if sum(each.nbytes for each in part) >= _BUCKET:
            yield part
            part = []
    if part:
        yield part


def _flat(part: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.reshape(-1) for gradient in part])


@contextmanager
def meeting() -> Iterator[None]:
    """PeerLost where the talk inside fails because another worker is gone."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise _missed(error) from error


def _missed(error: RuntimeError) -> PeerLost:
    late = any(word in str(error).lower() for word in ("timed out", "timeout"))
    return PeerLost(f"{HANGS if late else GONE}, and this one can't go on alone", fix="see what the other one said")


def is_lost(error: BaseException) -> bool:
    """Whether an error of torch says that another worker is gone."""
    return any(word in str(error).lower() for word in _LOST)


def _store() -> dict[str, Any]:
    """Where workers that an agent of torch started find each other: under names of this attempt.

    The agent keeps one store for all of its attempts: a worker that is started again could read there where another was before, and both
    would wait for each other.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), launched(), is_master=False, timeout=_JOINING)
    return {"store": PrefixStore(f"attempt-{worker.restarts()}", store), "rank": worker.rank(), "world_size": launched()}


@contextmanager
def joined(strategy: str) -> Iterator[World]:
    """The world that this process was launched into, joined for as long as it lasts; alone where it was launched by itself."""
    if launched() == 1:
        yield World()
        return
    cuda, patience = torch.cuda.is_available(), timedelta(minutes=patience_minutes())
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    begun = dist.is_initialized()
    if not begun:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=max(patience, _JOINING), **_store())
    waits = {"side": _PATIENCE, "step": patience, "saving": patience}
    groups = {name: dist.new_group(backend="gloo", timeout=wait) for name, wait in waits.items()}
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), strategy=strategy, **groups)
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise _missed(error) from error
    finally:
        for group in groups.values() if begun else (None,):  # Ray joins workers itself, and parts them
            dist.destroy_process_group(group)
