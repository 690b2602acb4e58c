"""Before spending: what each method would take of memory, time and money, on this machine or another."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rootstock import catalog
from rootstock.bases import blank
from rootstock.bases.load import in_body
from rootstock.core.errors import RecipeError, UsageError
from rootstock.core.loaded import configs
from rootstock.core.method import Method
from rootstock.core.recipe import Recipe
from rootstock.core.resources import bf16_is_fast, device_memory, resident_memory
from rootstock.core.task import Batch, Labelled, Task
from rootstock.core.watch import Say
from rootstock.data.ledger import LIMITS
from rootstock.loop import crew
from rootstock.planning import advise, devices, forecast, memory, rehearse, rules
from rootstock.run.prepare import prepare
from rootstock.run.prepared import device_name
from rootstock.verbs import pace

BESIDE = ("full", "lora", "qlora", "bitfit", "feature-extraction")
"""Methods that are shown side by side where none is named."""
THIS_MACHINE = "this-machine"
_BLOCKS = 2
"""Of a base, that are measured: all of them are alike, and two fit anywhere."""
_ROWS, _LENGTH = 10_000, 128
_PLANNED = ("class", "classes", "number", "tags", "completion", "text")
"""Kinds of answers whose batches a plan can make up."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A plan's question. methods: names. settings: of the first method. device: a name, or this-machine.

    micro, batch: tokens at once and of an update; None: as a run would. price: dollars an hour.
    """

    base: str = "minilm"
    task: str = "text-classification"
    labels: int = 2
    methods: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: int = _ROWS
    length: int = _LENGTH
    epochs: float | None = None
    micro: int = 8192
    batch: int | None = None
    precision: str = "auto"
    device: str = THIS_MACHINE
    memory_bytes: int | None = None
    price: float | None = None
    seconds: float | None = None
    tasks: int = 1
    disk_bytes: int | None = None


def amount(text: str | None, option: str) -> int | None:
    """Bytes of 16GB, 2.5 GB or 800MB, in powers of ten; of nothing, None. UsageError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"([\d.]+)\s*([kMGT]?)B?", text.strip(), re.IGNORECASE)
    try:
        return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " ")) if found else int("")
    except ValueError:
        raise UsageError(f"{option} is {text}", wanted="an amount such as 16GB") from None


_TRAINING = {"training.micro_tokens": "micro", "training.batch_tokens": "batch"}


def told_apart(changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the method, and what a plan reads of training. UsageError for any other key: it would mean nothing."""
    method = {key.removeprefix("method."): value for key, value in changes.items() if key.startswith("method.")}
    training = {_TRAINING[key]: _tokens(key, value) for key, value in changes.items() if key in _TRAINING}
    others = [key for key in changes if not key.startswith("method.") and key not in _TRAINING]
    if others:
        raise UsageError(f"a plan does not read {others[0]}", wanted=f"method.key, {', '.join(_TRAINING)}", fix="leave it out")
    return method, training


def _tokens(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{key} is {value}", wanted="a number of tokens", fix="give one, such as 8192")
    return value


def measured_speed(asked: Asked, say: Say, seconds: float = 10.0) -> float:
    """Operations a second that training this base reaches here: real steps of its lowest two blocks with random weights.

    Raises UsageError for another device than this machine, RecipeError for a method that can't be carried out on it.
    """
    _check(asked)
    if asked.device != THIS_MACHINE:
        raise UsageError(f"--this-machine measures this one, and --device is {asked.device}", fix="leave one of them out")
    device, task = device_of(asked), task_of(asked)
    method: Method = catalog.find("methods", (asked.methods or ("full",))[0]).build(dict(asked.settings), "method")
    precision, work = _precision(asked, device), _work(asked, method, device)
    method.check(task.head(), blank.config_of(asked.base))
    _, step = counted_and_tried(asked.base, task, method, work, precision, blocks=_BLOCKS)
    say(f"measuring for {seconds:.0f} s how fast {_BLOCKS} blocks of {asked.base} learn here")
    real = blank.blank(asked.base, task.head(), device=device_name(), blocks=_BLOCKS)
    way = pace.Way(task=task, method=method, members=work.members, precision=precision)
    return step.flops * pace.batches_a_second(real, _batch(task, work), way, seconds)


def of_data(asked: Asked, data: str, say: Say, *, base_given: bool) -> Asked:
    """The question with rows, labels, lengths and task as a file has them; and a base that suits them where none is given."""
    values = {"data": {"train": data}, "method": {"name": "full"}, "accept": list(LIMITS)}
    prepared = prepare(Recipe.build(values, "").anchored(Path.cwd()), say)
    lengths = prepared.encoded.lengths
    labels = len(getattr(prepared.task, "labels", ())) or 1
    name = catalog.name_of("tasks", type(prepared.task))
    found = replace(asked, task=name, labels=labels, rows=len(lengths), length=max(4, round(float(lengths.mean()))))
    if base_given:
        return found
    advice = rules.base_for(_case(found, device_of(found)))
    say(f"base      {advice.choice}: {advice.reason}")
    return replace(found, base=advice.choice)


def _case(asked: Asked, device: devices.Device) -> rules.Case:
    task = task_of(asked)
    kind = getattr(task, "kind", "completion")
    return rules.Case(
        rows=asked.rows,
        classes=asked.labels if kind in ("class", "classes", "tags") else 0,
        kind=kind,
        machine=device.memory_bytes,
        seconds=asked.seconds,
        tasks=asked.tasks,
        disk_bytes=asked.disk_bytes,
    )


def _advised(asked: Asked, costs: Sequence[forecast.Forecast], device: devices.Device) -> list[dict[str, Any]]:
    """What the published rules say of the question, where the methods that they weigh could all be planned."""
    held = {each.method: each for each in costs}
    weighed = {"full", "lora", "feature-extraction"} <= set(held) and not asked.methods
    return [asdict(each) for each in rules.recommend(_case(asked, device), held)] if weighed else []


def device_of(asked: Asked) -> devices.Device:
    """The device that the question names, with the memory that it says."""
    found = this_machine() if asked.device == THIS_MACHINE else devices.find(asked.device)
    return found if asked.memory_bytes is None else replace(found, memory_bytes=asked.memory_bytes)


def plan(asked: Asked, *, speed: float | None = None) -> dict[str, Any]:
    """The forecast of each method as JSON, the one asked for first.

    speed: operations a second that were measured. Raises UsageError, UnknownName or BaseError before anything is counted.
    """
    _check(asked)
    device = device_of(asked)
    names = asked.methods or BESIDE
    found, left = [], {}
    for name in names:
        try:
            found.append(_forecast(asked, name, device, speed))
        except RecipeError as error:
            if len(names) == 1:
                raise
            left[name] = str(error).splitlines()[0]
    told = [{**asdict(each), "total_bytes": each.memory.total, "share": each.counts.share} for each in found]
    return {
        "base": blank.name_of(asked.base) or asked.base,
        "task": asked.task,
        "device": asdict(device),
        "speed": {"measured": speed, "assumed_share": None if speed else forecast.REACHED},
        "work": {"rows": asked.rows, "length": asked.length, "micro_tokens": asked.micro},
        "methods": told,
        "left_out": left,
        "change": _change(asked, found[0], device),
        "advice": _advised(asked, found, device),
    }


@cache
def this_machine() -> devices.Device:
    """The machine at hand: its memory, and what its products reach in a tenth of a second of trying, which is asked once."""
    place = device_name()
    quick = bf16_is_fast(place)
    return devices.Device(
        name=THIS_MACHINE,
        memory_bytes=device_memory(place),
        bf16=advise.speed(place, torch.bfloat16) if quick else 0.0,
        fp32=advise.speed(place, torch.float32),
        source="measured",
    )


def _check(asked: Asked) -> None:
    for name, value, least in (("--rows", asked.rows, 1), ("--length", asked.length, 4), ("--labels", asked.labels, 1)):
        if value < least:
            raise UsageError(f"{name} is {value}", wanted=f"{least} or more")
    for name, amount_ in (("--epochs", asked.epochs), ("--memory", asked.memory_bytes)):
        if amount_ is not None and amount_ <= 0:
            raise UsageError(f"{name} is {amount_:g}", wanted="more than 0")
    if asked.precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"--precision is {asked.precision}", wanted="auto, fp32 or bf16")


def task_of(asked: Asked) -> Task:
    """The task with labels made up; UsageError for one whose batches a plan can't make up."""
    made = catalog.find("tasks", asked.task)()
    kind = made.kind if isinstance(made, Labelled) else "completion" if asked.task == "causal-lm" else None
    if kind not in _PLANNED:
        raise UsageError(
            f"a plan for {asked.task} is not known",
            wanted="text-classification, regression, token-classification, text-generation, text-to-text or causal-lm",
            fix="rehearse it with data: rootstock adapt … --dry-run",
        )
    labels = {"labels": tuple(str(number) for number in range(asked.labels))} if "labels" in type(made).model_fields else {}
    several = {"several": "no"} if "several" in type(made).model_fields else {}
    planned: Task = made.model_copy(update={**labels, **several})
    return planned


def _forecast(asked: Asked, name: str, device: devices.Device, speed: float | None) -> forecast.Forecast:
    task = task_of(asked)
    method: Method = catalog.find("methods", name).build(dict(asked.settings) if name in asked.methods[:1] else {}, "method")
    if method.warm_up():
        fix = "rehearse it with data: rootstock adapt … --dry-run"
        raise RecipeError(f"what {name} has the base learn before its head is not planned", wanted="a training in one part", fix=fix)
    precision = _precision(asked, device)
    if precision == "bf16" and not device.bf16:
        raise RecipeError(f"{device.name} has no products in bf16", wanted="fp32", fix="leave --precision out")
    work = _work(asked, method, device)
    counts, step = counted_and_tried(asked.base, task, method, work, precision)
    step = step.again if work.accumulates else step
    process = resident_memory() if device.name == THIS_MACHINE and device_name() == "cpu" else 0
    held = memory.memory(counts, step, precision=precision, members=work.members, packed=method.packed, process=process)
    hourly = asked.price if asked.price is not None else device.hourly
    how = forecast.How(precision=precision, speed=speed, hourly=hourly, once=method.frozen, adapter=method.saves == "adapter")
    return forecast.forecast(name, counts, forecast.Tried(step, held, work), device, how)


def _precision(asked: Asked, device: devices.Device) -> str:
    return device.best if asked.precision == "auto" else asked.precision


def _work(asked: Asked, method: Method, device: devices.Device) -> forecast.Work:
    batch = asked.batch or method.batch_tokens
    updates = -(-asked.rows * asked.length // batch)
    here = device_name() if device.name == THIS_MACHINE else "cuda"
    members = 1 if method.frozen else crew.most(batch, here)
    return forecast.Work(
        rows=asked.rows,
        length=asked.length,
        epochs=asked.epochs or method.passes(updates, asked.labels),
        micro=asked.micro,
        batch=asked.micro if method.frozen else batch,  # rows pass a frozen base without updates, as many at once as may
        members=members,
    )


def counted_and_tried(
    base: str, task: Task, method: Method, work: forecast.Work, precision: str, *, blocks: int | None = None
) -> tuple[memory.Counted, rehearse.Step]:
    """Parameters under the method, and one micro-batch tried on the meta device. blocks: how many of the base's, None: all."""
    loaded = blank.blank(base, task.head(), blocks=blocks)
    before = {name: p.numel() for name, p in loaded.model.named_parameters()}
    exact = sum(before[name] for name in loaded.fresh if not in_body(loaded.model, name))  # of random weights only the head's, as in a run
    if method.packed is None:  # one that packs asks for a GPU here, and a plan may be for another machine
        method.check(loaded.head, blank.config_of(base))
    with torch.device("meta"):
        with _fits(base):
            model = method.apply(loaded)
        counts = memory.counted(model, exact, before, method)
        batch = _batch(task, work)
        return counts, rehearse.step(_ready(model, precision), _loss(task, model, batch, frozen=method.frozen))


@contextmanager
def _fits(base: str) -> Iterator[None]:
    """RecipeError where a method finds no place in a base, or asks for values, which there are none of."""
    try:
        yield
    except (ValueError, NotImplementedError, RuntimeError) as error:
        found = f"the method can't be planned on {base}: {str(error).strip().splitlines()[0]}"
        fix = "choose another --method, or rehearse it with data: rootstock adapt … --dry-run"
        raise RecipeError(found, wanted="a method that fits the base", fix=fix) from error


def _ready(model: nn.Module, precision: str) -> nn.Module:
    """The model as the loop would have it: in the numbers of its products, a fresh head in fp32."""
    if precision == "bf16":
        model.to(torch.bfloat16)
    for part in configs(getattr(model, "config", None)):
        if getattr(part, "pad_token_id", 0) is None:
            part.pad_token_id = 0
    return model.train()


def _batch(task: Task, work: forecast.Work) -> Batch:
    """Made-up rows, as many as pass at once, on whatever device is the default."""
    ids_BT = torch.zeros((work.at_once, work.length), dtype=torch.long)
    kind = getattr(task, "kind", "completion")
    of_kind = {"class": ids_BT[:, 0], "classes": ids_BT[:, :1].float(), "number": ids_BT[:, 0].float()}
    return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT), "labels": of_kind.get(kind, ids_BT)}


def _loss(task: Task, model: nn.Module, batch: Batch, *, frozen: bool) -> Callable[[], Tensor]:
    held = {name: value.to("meta") for name, value in batch.items()}

    def once() -> Tensor:
        with torch.set_grad_enabled(not frozen):
            return task.loss(model, held).total

    return once


def _change(asked: Asked, first: forecast.Forecast, device: devices.Device) -> dict[str, Any] | None:
    """What makes the first method fit, the least change first; None where it fits already."""
    if first.fits:
        return None
    tries: list[tuple[str, Callable[[], memory.Memory]]] = []
    for micro in _halves(asked):
        change = replace(asked, micro=micro)
        tries.append((f"pass {micro:,} tokens at once: --set training.micro_tokens={micro}", partial(_held, change, first.method, device)))
    fewest = replace(asked, micro=asked.length, settings={})
    for name in BESIDE:
        if name != first.method:
            tries.append((f"take --method {name}, one row at once", partial(_held, fewest, name, device)))
    found = forecast.cheapest(tries, device)
    larger = forecast.smallest(first.memory.total)
    count = -(-first.memory.total // max(1, int(forecast.ROOM * device.memory_bytes)))
    return {
        "change": asdict(found) if found else None,
        "device": larger.name if larger else None,
        "devices": None if larger else count,
    }


def _held(asked: Asked, name: str, device: devices.Device) -> memory.Memory:
    return _forecast(replace(asked, methods=(name,), price=None), name, device, None).memory


def _halves(asked: Asked) -> Sequence[int]:
    found, micro = [], asked.micro // 2
    while micro >= asked.length:
        found.append(micro)
        micro //= 2
    return found
