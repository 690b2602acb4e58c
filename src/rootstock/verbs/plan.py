"""Before spending: what each method would take of memory, time and money, on this machine or another."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from rootstock import STARTED, catalog
from rootstock.bases import blank
from rootstock.core.errors import BaseError, RecipeError, UsageError
from rootstock.core.method import Method
from rootstock.core.recipe import Recipe
from rootstock.core.resources import bf16_is_fast, device_memory, kept_products, resident_memory
from rootstock.core.settings import changed
from rootstock.core.task import Task
from rootstock.core.watch import Say
from rootstock.data.ledger import LIMITS
from rootstock.loop import crew
from rootstock.planning import advise, devices, forecast, ledger, memory, rules
from rootstock.run import choices, execute, labelled_pictures, paired
from rootstock.run.prepare import prepare
from rootstock.run.prepared import LabelledRows, Prepared, device_name
from rootstock.verbs import pace, plan_task, plan_words, trial
from rootstock.verbs.plan_tried import Way, seen, tried
from rootstock.verbs.plan_words import THIS_MACHINE

BESIDE = ("full", "lora", "qlora", "bitfit", "feature-extraction")
"""Methods that are shown side by side where none is named."""
_COUNTS = "minilm"
"""Whose tokenizer counts where a base's own is not at hand."""
_COUNTS_IMAGES = "scratch:vit-tiny"
"""Of images the base that reads them where none is named or at hand."""
_TASK = "text-classification"
"""What is planned for where neither a person nor a file says otherwise."""
_BLOCKS = 2
"""Of a base, that are measured: all of them are alike, and two fit anywhere."""
_ROWS, _LENGTH = 10_000, 128


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A plan's question. methods: names. settings: of the first method. device: a name, or this-machine.

    micro, batch: tokens at once and of an update; None: as a run would. price: dollars an hour.
    """

    base: str = "minilm"
    task: str = _TASK
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
    data: LabelledRows | None = None
    """The rows, where they are at hand; made ready under the method full."""
    recipe: Recipe | None = None
    """That they were made ready by."""


def measured(asked: Asked, say: Say, seconds: float = 10.0) -> forecast.Pace:
    """How fast this base learns and answers here: a short run of the first method on the rows where they are at hand, else made-up rows.

    Raises UsageError for another device than this machine, RecipeError for a method that can't be carried out on it.
    """
    _check(asked)
    asked = _of_images(asked)
    if asked.device != THIS_MACHINE:
        raise UsageError(f"--this-machine measures this one, and --device is {asked.device}", fix="leave one of them out")
    return _tried_pace(asked, asked.recipe, say) if asked.data and asked.recipe else _made_up_pace(asked, say, seconds)


def _made_up_pace(asked: Asked, say: Say, seconds: float) -> forecast.Pace:
    """By real steps of the base's lowest two blocks with random weights, on rows that are all alike."""
    start = time.monotonic() - STARTED
    method = method_of(asked, (asked.methods or ("full",))[0])
    way, work = way_of(asked, method, this_machine()), work_of(asked, method, this_machine())
    method.check(way.task.head(), blank.config_of(asked.base))
    found = tried(way, work, blocks=_BLOCKS)
    say(f"measuring for {seconds:.0f} s how fast {_BLOCKS} blocks of {asked.base} learn here")
    real = blank.blank(asked.base, way.task.head(), device=device_name(), blocks=_BLOCKS)
    learned, answered = pace.batches_a_second(real, way, work, seconds)
    return forecast.Pace(learning=found.step.flops * learned, answering=found.answer.flops * answered, start=start)


def _tried_pace(asked: Asked, recipe: Recipe, say: Say) -> forecast.Pace:
    """By a short run of the first method on some of the rows; what it held beside all that is counted is Python's and the libraries'."""
    name, device = (asked.methods or ("full",))[0], this_machine()
    method = method_of(asked, name)
    work = work_of(asked, method, device)
    updates = min(trial.UPDATES, work.updates)
    training = {"steps": updates, "micro_tokens": asked.micro, "precision": asked.precision, "batch_tokens": asked.batch}
    changes = {
        "base": recipe.base,
        "method": {"name": name, **asked.settings},
        **{f"training.{key}": value for key, value in training.items()},
    }
    changes |= {"data.rows": trial.ROWS} if asked.rows > trial.ROWS else {}
    say(f"measuring by a short run of {name} on {asked.base}: {updates} updates, and all that comes before and after")
    found = trial.carried_out(Recipe.build(changed(recipe.plain(), changes), ""))
    spent, done = found["measured"], found["work"]
    counted = forecast_of(replace(asked, methods=(name,)), name, device, None, updates=updates)
    each = plan_task.cost(task_of(asked)) if plan_task.of_images(task_of(asked)) else 1  # a run's history counts an image as one
    passed, took = ("tokens_passed", "passing") if method.frozen else ("tokens_answered", "evaluating")
    answering = counted.forward * done[passed] / spent[took]
    return forecast.Pace(
        learning=answering if method.frozen else counted.flops * each * done["tokens"] / spent["learning"],
        answering=answering,
        start=spent["start"],
        ending=spent["ending"],
        update=spent["learning"] / max(1, done["updates"]),
        process=max(0, spent["bytes"] - counted.memory.total + counted.memory.process),
    )


def of_data(asked: Asked, data: str, say: Say, *, base_given: bool) -> Asked:
    """The question with rows, labels, lengths and task as a file has them; and a base that suits them where none is given."""
    recipe = _recipe(asked, data)
    images = labelled_pictures.meant(recipe)
    counts, unnamed = (_COUNTS_IMAGES, not base_given) if images else (_COUNTS, False)
    start = counts if unnamed else recipe.base
    recipe, prepared = _prepared(_on(recipe, start), counts, say)
    lengths, length = prepared.encoded.lengths, max(4, round(float(prepared.encoded.lengths.mean())))
    labels, name = len(getattr(prepared.task, "labels", ())) or 1, catalog.name_of("tasks", type(prepared.task))
    base = start if unnamed else asked.base
    found = replace(asked, task=name, labels=labels, rows=len(lengths), length=_LENGTH if images else length, base=base)
    if not base_given:
        advice = rules.base_for(_case(found, device_of(found)))
        say(f"base      {advice.choice}: {advice.reason}")
        found = replace(found, base=advice.choice)
    if not isinstance(prepared, LabelledRows) or recipe.base != start or found.base != base:
        return _of_images(found)  # another tokenizer makes other tokens of the rows
    return replace(_of_images(found), data=prepared, recipe=recipe)


def _recipe(asked: Asked, data: str) -> Recipe:
    """That the rows of a file are made ready by. The task is found in them unless another than the usual one is named."""
    named = {} if asked.task == _TASK else {"task": {"name": asked.task}}
    values = {"base": asked.base, "data": {"train": data}, "method": {"name": "full"}, "accept": list(LIMITS), **named}
    return Recipe.build(values, "").anchored(Path.cwd())


def _on(recipe: Recipe, base: str) -> Recipe:
    return recipe.model_copy(update={"base": base})


def _prepared(recipe: Recipe, counts: str, say: Say) -> tuple[Recipe, Prepared]:
    """The rows as the base reads them, or as `counts` does where the base itself is not at hand."""
    try:
        return recipe, prepare(recipe, say)
    except BaseError as error:
        if recipe.base == counts or not blank.config_of(recipe.base):
            raise
        say(f"lengths   in tokens of {counts}: {error.found}")
        return _on(recipe, counts), _prepared(_on(recipe, counts), counts, say)[1]


def _case(asked: Asked, device: devices.Device) -> rules.Case:
    task = task_of(asked)
    kind = getattr(task, "kind", "completion")
    return rules.Case(
        rows=asked.rows,
        classes=asked.labels if kind in ("class", "classes", "tags") else 0,
        kind=kind,
        images=plan_task.of_images(task),
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


def plan(asked: Asked, *, measured: forecast.Pace | None = None) -> dict[str, Any]:
    """The forecast of each method as JSON, the one asked for first. measured: by `measured`.

    Raises UsageError, UnknownName or BaseError before anything is counted.
    """
    _check(asked)
    asked = _of_images(asked)
    device = device_of(asked)
    names = asked.methods or BESIDE
    found, left = [], {}
    for name in names:
        try:
            found.append(forecast_of(asked, name, device, measured))
        except RecipeError as error:
            if len(names) == 1:
                raise
            left[name] = str(error).splitlines()[0]
    told = [{**asdict(each), "total_bytes": each.memory.total, "share": each.counts.share} for each in found]
    base = blank.name_of(asked.base) or asked.base
    return {
        "base": base,
        "task": asked.task,
        "device": asdict(device),
        "prices": plan_words.priced(asked.price, device)[1],
        "speed": {"measured": measured.learning if measured else None, "assumed_share": None if measured else forecast.REACHED},
        "work": {"rows": asked.rows, "length": asked.length, "micro_tokens": asked.micro, "size": getattr(task_of(asked), "size", None)},
        "methods": told,
        "left_out": left,
        "here_before": _here_before(asked) if device.name == THIS_MACHINE else {},
        "change": _change(asked, found[0], device),
        "advice": _advised(asked, found, device),
    }


def errors_so_far() -> dict[str, Any]:
    """How far the forecasts of the runs so far were off, by base and method."""
    path = ledger.place()
    kept = ledger.read(path)
    return {"ledger": str(path) if path else None, "runs": len(kept.entries), "broken": kept.broken, "errors": ledger.summary(kept)}


def _here_before(asked: Asked) -> dict[str, Any]:
    """By method: what runs of this base and task took here, as the ledger has them."""
    entries = ledger.read(ledger.place()).entries
    return ledger.like(entries, base=paired.base_name(asked.base), task=asked.task, device=paired.device())


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
    least = (("--rows", asked.rows, 1), ("--length", asked.length, 4), ("--labels", asked.labels, 1), ("--tasks", asked.tasks, 1))
    days = None if asked.seconds is None else asked.seconds / 86_400
    above = {"--epochs": asked.epochs, "--memory": asked.memory_bytes, "--days": days, "--disk": asked.disk_bytes, "--price": asked.price}
    plan_words.check(least=least, above_zero=above, precision=asked.precision)


def task_of(asked: Asked) -> Task:
    """The task with labels made up; UsageError for one whose batches a plan can't make up."""
    return plan_task.made_up(asked.task, labels=asked.labels, base=asked.base)


def _of_images(asked: Asked) -> Asked:
    """The question with the tokens that an image counts as, where rows are images. UsageError where it names another length."""
    if not plan_task.of_images(task := task_of(asked)):
        return asked
    cost = plan_task.cost(task)
    if asked.length not in (_LENGTH, cost):
        found = f"--length is {asked.length}, and an image counts as {cost} tokens of {asked.base}"
        raise UsageError(found, wanted="the base's own size of images", fix="leave --length out")
    return replace(asked, length=cost)


def method_of(asked: Asked, name: str) -> Method:
    """A method, the first one with the settings asked for."""
    made: Method = catalog.find("methods", name).build(dict(asked.settings) if name == (asked.methods or (name,))[0] else {}, "method")
    return labelled_pictures.everywhere(made, _quiet) if plan_task.of_images(task_of(asked)) else made


def _quiet(_: str) -> None:
    """What a run says of its choices, a plan shows."""


def way_of(asked: Asked, method: Method, device: devices.Device) -> Way:
    """What is learned, and how."""
    used = execute.used(asked.data, (asked.data.encoded, asked.data.encoded_validation)) if asked.data else None
    return Way(base=asked.base, task=task_of(asked), method=method, precision=plan_words.precision(asked.precision, device), used=used)


def forecast_of(
    asked: Asked, name: str, device: devices.Device, measured: forecast.Pace | None, *, updates: int | None = None
) -> forecast.Forecast:
    """What one method takes; of so many updates alone where they are given. RecipeError where it can't be planned."""
    method = method_of(asked, name)
    if method.warm_up():
        fix = "rehearse it with data: rootstock adapt … --dry-run"
        raise RecipeError(f"what {name} has the base learn before its head is not planned", wanted="a training in one part", fix=fix)
    way = way_of(asked, method, device)
    if way.precision == "bf16" and not device.bf16:
        raise RecipeError(f"{device.name} has no products in bf16", wanted="fp32", fix="leave --precision out")
    work = work_of(asked, method, device, updates=updates)
    counts, step, answer, products = tried(way, work)
    here = device.name == THIS_MACHINE and device_name() == "cpu"
    process = measured.process if measured and measured.process is not None else resident_memory() if here else 0
    beside = memory.Beside(
        process=process,
        products=products.count(work.learned, work.evaluated, most=kept_products()) * memory.PRODUCT_BYTES if here else 0,
        rows=work.seen.bytes if work.seen else 0,
        answering=answer.peak_bytes * work.cores,
    )
    held = memory.memory(counts, step, precision=way.precision, members=work.members, packed=method.packed, beside=beside)
    hourly, _ = plan_words.priced(asked.price, device)
    how = forecast.How(precision=way.precision, pace=measured, hourly=hourly, once=method.frozen, adapter=method.saves == "adapter")
    return forecast.forecast(name, counts, forecast.Tried(step, held, work), device, how)


def work_of(asked: Asked, method: Method, device: devices.Device, *, updates: int | None = None) -> forecast.Work:
    """What is to be done. updates: so many alone, and not as many as the method needs."""
    batch = asked.batch or choices.batch_tokens(method, task_of(asked))
    here = device_name() if device.name == THIS_MACHINE else "cuda"
    members = 1 if method.frozen else crew.most(batch, here)
    cores = torch.get_num_threads() if here == "cpu" else 1
    feed = replace(asked.data.feed(asked.data.encoded), budget=batch, micro=asked.micro) if asked.data else None
    each = len(feed.epoch(0)) if feed else -(-asked.rows * asked.length // batch)
    unpadded = choices.updates(feed.encoded.lengths, batch) if feed else each
    work = forecast.Work(
        rows=asked.rows,
        length=asked.length,
        epochs=updates / each if updates else asked.epochs or method.passes(unpadded, asked.labels),
        micro=asked.micro,
        batch=asked.micro if method.frozen else batch,  # rows pass a frozen base without updates, as many at once as may
        members=members,
        cores=cores,
        alike=plan_task.of_images(task_of(asked)),
    )
    return seen(asked.data, feed, work, frozen=method.frozen) if asked.data and feed else work


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
    return forecast_of(replace(asked, methods=(name,), price=None), name, device, None).memory


def _halves(asked: Asked) -> Sequence[int]:
    found, micro = [], asked.micro // 2
    while micro >= asked.length:
        found.append(micro)
        micro //= 2
    return found
