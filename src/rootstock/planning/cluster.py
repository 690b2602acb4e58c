"""A pre-training on many devices: what each holds, what it sends, how long an update takes, and which way of sharing is quickest.

The letters are those of `cluster_memory`. Volumes are what a device sends in a ring, as in Rajbhandari et al. 2020 (ZeRO,
arXiv:1910.02054, section 7) and Shoeybi et al. 2019 (Megatron-LM, arXiv:1909.08053, section 3).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rootstock.core.errors import UsageError
from rootstock.planning.cluster_memory import Held, Way, held
from rootstock.planning.devices import DEVICES, Device
from rootstock.planning.forecast import ROOM
from rootstock.planning.links import HOST_BYTES, Links
from rootstock.planning.shapes import Shape

UTILISATION = 0.50
"""Share of the peak that a whole training reaches, recomputation counted: the geometric mean of Llama 1's four trainings on A100s is 0.499
(Touvron et al. 2023, tables 2 and 15). docs/planning.md holds it against trainings that it was not settled on."""
LATER = 0.70
"""Of that, what Hopper reaches: its peak grew more than its memory. Seven measurements of one model on both (MosaicML's llm-foundry, its
benchmarks at 2,048 tokens) have the geometric mean 0.703. Blackwell is taken to be alike, for want of figures."""
_LATER = ("h100", "h200", "b200")
_MOST_WORKERS = 65_536
STREAMED = 28
"""Bytes that AdamW moves for a parameter in fp32: it reads weight, gradient and both moments, and writes all but the gradient."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be trained. batch: tokens of an update; tokens: of the training; micro: at once on a device, None: as many as fit."""

    shape: Shape
    length: int
    batch: int
    tokens: float
    micro: int | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where. hourly: dollars of one device, None where nobody lists it. precision: of products, bf16 or fp32."""

    device: Device
    links: Links
    workers: int
    precision: str
    hourly: float | None

    @property
    def computed(self) -> int:
        """Bytes of a number that is computed with."""
        return 2 if self.precision == "bf16" else 4

    @property
    def speed(self) -> float:
        """Operations a second that a device is expected to reach."""
        return utilisation(self.device.name) * self.device.peak(self.precision)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Bytes that a device sends in an update. data: over its data group; tensor: in its tensor group; host: to and from the machine."""

    data: float
    tensor: float
    host: float


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds of an update. compute, data, tensor, host: each alone. optimizer: on the machine's processors.

    exposed: what is not hidden behind computing.
    """

    compute: float
    data: float
    tensor: float
    host: float
    optimizer: float
    exposed: float

    @property
    def step(self) -> float:
        """Of a whole update."""
        return self.compute + self.exposed


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """One way of sharing. micro: tokens at once; passes: micro-batches of an update; batch: tokens of an update, all workers.

    efficiency: compute / (compute + exposed). mfu: useful operations over the peak; hfu: with those that are done again.
    """

    way: Way
    held: Held
    fits: bool
    micro: int
    passes: int
    batch: int
    sent: Sent
    spent: Spent
    efficiency: float
    mfu: float
    hfu: float
    tokens_per_day: float
    days: float
    device_hours: float
    dollars: float | None


def utilisation(device: str) -> float:
    """Share of the peak that products of a whole training reach on it."""
    return UTILISATION * (LATER if device in _LATER else 1.0)


def ways(shape: Shape, place: Place) -> Iterator[Way]:
    """All that are weighed; those of tensor groups where the heads can be shared out inside a machine."""
    yield Way(name="ddp", shards=False)
    yield Way(name="fsdp")
    yield Way(name="fsdp + recompute", recompute=True)
    yield Way(name="fsdp + recompute + offload", recompute=True, offload=True)
    group = tensor_group(shape, place)
    if group == place.workers > 1:  # one group of all, as the loop has it
        yield Way(name="tensor", shards=False, tensor=group, here=shape.splits)
        yield Way(name="tensor + recompute", shards=False, tensor=group, recompute=True, here=shape.splits)
    elif group > 1:
        yield Way(name=f"tensor {group} x fsdp", tensor=group, here=False)
        yield Way(name=f"tensor {group} x fsdp + recompute", tensor=group, recompute=True, here=False)


def tensor_group(shape: Shape, place: Place) -> int:
    """Devices of a machine that can share each matrix: the largest power of two that divides workers, heads and widths; 1: none."""
    most = min(place.links.per_node, place.workers)
    shared = (place.workers, place.links.per_node, shape.queries // shape.head, shape.keys // shape.head, shape.inner)
    sizes = (2**power for power in range(most.bit_length()))
    return int(max(each for each in sizes if all(size % each == 0 for size in shared)))


def outlook(job: Job, place: Place, way: Way) -> Outlook:
    """One way of sharing: with as many rows at once as fit, or one where none does."""
    groups = place.workers // way.tensor
    rows = max(1, round(job.batch / (groups * job.length)))
    at_once, kept = _at_once(job, place, way, rows)
    passes, batch = math.ceil(rows / at_once), rows * groups * job.length
    tokens = rows * job.length / passes  # of the usual micro-batch; the largest decides on memory
    sent = _sent(job.shape, place, way, tokens=tokens, passes=passes)
    model, again = job.shape.flops(job.length), job.shape.again(job.length) if way.recompute else 0.0
    spent = _spent(batch * (model + again) / (place.workers * place.speed), sent, place, way, job.shape)
    peak = place.workers * place.device.peak(place.precision) * spent.step
    rate = batch / spent.step
    hours = job.tokens / rate / 3600 * place.workers
    return Outlook(
        way=way,
        held=kept,
        fits=kept.total <= ROOM * place.device.memory_bytes,
        micro=at_once * job.length,
        passes=passes,
        batch=batch,
        sent=sent,
        spent=spent,
        efficiency=spent.compute / spent.step,
        mfu=batch * model / peak,
        hfu=batch * (model + again) / peak,
        tokens_per_day=86_400 * rate,
        days=job.tokens / rate / 86_400,
        device_hours=hours,
        dollars=None if place.hourly is None else hours * place.hourly,
    )


def _at_once(job: Job, place: Place, way: Way, rows: int) -> tuple[int, Held]:
    """Rows that pass at once, and what is held then: what was asked for, else the most (a power of two, or all) that fit, at least one."""

    def with_rows(count: int) -> Held:
        return held(job.shape, way, place.workers, tokens=count * job.length, computed=place.computed)

    if job.micro is not None:
        asked = max(1, min(job.micro // job.length, rows))
        return asked, with_rows(asked)
    tries = [rows, *(2**power for power in reversed(range(rows.bit_length())) if 2**power < rows)]
    fitting = (count for count in tries if with_rows(count).total <= ROOM * place.device.memory_bytes)
    best = next(fitting, 1)
    return best, with_rows(best)


def _sent(shape: Shape, place: Place, way: Way, *, tokens: float, passes: int) -> Sent:
    """Data: 2 Ψ of fp32 sums once an update (ddp), or 3 Ψ for each micro-batch: two gathers of c bytes, one sum in fp32 (fsdp).

    Tensor: of a block two all-reduces of its T d numbers forward, two backward, and two more where it is computed again.
    """
    groups, own = place.workers // way.tensor, shape.parameters / way.tensor
    data = ring(groups) * own * (passes * (2 * place.computed + 4) if way.shards else 2 * 4)
    reduces = (6 if way.recompute else 4) * shape.blocks * passes
    tensor = reduces * 2 * ring(way.tensor) * tokens * shape.width * place.computed
    host = passes * 12 * shape.parameters / place.workers if way.offload else 0.0  # two gathers and a gradient, all in fp32
    return Sent(data=data, tensor=tensor, host=host)


def ring(members: int) -> float:
    """Of a tensor, what each of so many sends when all of them gather it or sum their parts of it."""
    return (members - 1) / members


def _spent(compute: float, sent: Sent, place: Place, way: Way, shape: Shape) -> Spent:
    """Gathers and sums of shards go beside computing; sums of ddp come after it, and those of a tensor group stop it."""
    links = place.links
    data = sent.data / links.data(place.workers, way.tensor)
    tensor = sent.tensor / links.data(way.tensor, way.tensor)
    host = sent.host / links.host
    optimizer = STREAMED * shape.parameters / place.workers / (HOST_BYTES / links.per_node) if way.offload else 0.0
    hidden = max(0.0, max(data, host) - compute) if way.shards else data
    return Spent(compute=compute, data=data, tensor=tensor, host=host, optimizer=optimizer, exposed=hidden + tensor + optimizer)


def outlooks(job: Job, place: Place) -> list[Outlook]:
    """Every way, in the order of `ways`."""
    return [outlook(job, place, way) for way in ways(job.shape, place)]


def quickest(found: list[Outlook]) -> Outlook | None:
    """Of those that fit; None where none does."""
    return min((each for each in found if each.fits), key=lambda each: each.days, default=None)


def refusal(job: Job, place: Place, found: list[Outlook]) -> UsageError:
    """Says what the least needs, and the least change with which something fits: more workers of this device, or another device."""
    least = min(found, key=lambda each: each.held.total)
    have = ROOM * place.device.memory_bytes
    gigabytes = f"{least.held.total / 1e9:,.1f} GB on each of {place.workers:,}, of which {have / 1e9:,.1f} GB may be planned with"
    fixes = [*_more(job, place), *_larger(job, place)]
    return UsageError(
        f"no strategy fits {job.shape.name} on {place.device.name}: the least, {least.way.name}, holds {gigabytes}",
        wanted="a strategy that fits",
        fix="; or ".join(fixes) if fixes else "a smaller model: neither more workers nor another known device holds it",
    )


def _more(job: Job, place: Place) -> Iterator[str]:
    workers = place.workers
    while (workers := 2 * workers) <= _MOST_WORKERS:
        if best := quickest(outlooks(job, replace(place, workers=workers))):
            yield f"--workers {workers} with {best.way.name}"
            return


def _larger(job: Job, place: Place) -> Iterator[str]:
    fitting = ((each, quickest(outlooks(job, _on(place, each)))) for each in sorted(DEVICES.values(), key=lambda each: each.memory_bytes))
    for device, best in fitting:
        if best and device.memory_bytes > place.device.memory_bytes:
            yield f"--device {device.name} with {best.way.name}"
            return


def _on(place: Place, device: Device) -> Place:
    return replace(place, device=device, precision=place.precision if device.peak(place.precision) else device.best)
