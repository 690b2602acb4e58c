"""From prepared rows to a finished run folder: build, try one step, train, measure, write."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rootstock.bases import save as saving
from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, Interrupted, RootstockError, fitting
from rootstock.core.resources import kept_products, peak_memory
from rootstock.core.rows import IDS, Columns, Encoded, raw
from rootstock.core.runfolder import RunFolder
from rootstock.core.task import Uniform
from rootstock.core.watch import Event, Say, Watch
from rootstock.data import ledger
from rootstock.loop import checkpoint, precision, teacher
from rootstock.loop.history import History, read
from rootstock.loop.job import Job, Score
from rootstock.loop.train import Training
from rootstock.loop.world import World
from rootstock.planning import memory
from rootstock.run import afterwards, begin, beneath, disk, finish, held_out, setback, several, several_end, workers
from rootstock.run import found as found_settings
from rootstock.run.build import Built, build
from rootstock.run.measure import measure
from rootstock.run.paired import Pair
from rootstock.run.prepared import Joint, LabelledRows, Prepared, ledgers


def execute(prepared: Prepared, folder: RunFolder, watch: Watch, *, resume: bool = False, world: World | None = None) -> dict[str, Any]:
    """Carry a prepared run out; returns the content of metrics.json, or nothing to a worker that is not the first of its world.

    Raises LedgerRefused before anything is built, OutOfMemory from the trial step, Interrupted after saving a checkpoint.
    """
    for name, account in ledgers(prepared).items():
        ledger.refuse(account, prepared.recipe.accept, part=name)
    world = world or World()
    workers.check(prepared, world)
    pair = Pair(prepared=prepared, watch=watch)
    if world.size > 1:
        pair.leave_out("several workers")
    try:
        with workers.place(folder, world) as own:
            attempt = begin.taken_back(partial(_carried_out, pair, own, watch, world, resume), own, resume=resume)
            metrics = setback.kept_on(attempt, prepared, watch, may=watch.goes_back)
    except Interrupted:
        pair.leave_out("interrupted")
        pair.write()
        raise
    pair.write()
    return metrics


def _carried_out(pair: Pair, folder: RunFolder, watch: Watch, world: World, resume: bool, back: setback.Setbacks) -> dict[str, Any]:
    prepared, resume = pair.prepared, resume or back.error is not None
    found = found_settings.earlier(folder) if resume else {}
    prepared = found_settings.known(prepared, found)
    saved = _saved(folder, prepared, watch.say, world) if resume else None
    if resume:
        pair.leave_out("resumed")
    prepared, fit = found_settings.batch(prepared, watch, world)
    pair.prepared = prepared
    found |= fit
    with world.turn():
        whole = begin.begun(prepared, folder, watch, found=found if fit else {}, resume=resume)
    built = workers.spread(prepared, whole, folder, world)
    pair.built(built)
    writes = disk.Writes(prepared, built)
    if prepared.method.at_once:
        back.learned = True
        return _fitted(pair, built, folder, watch)
    watch = back.clock(watch, saved, built.earlier)
    with _saving(built), closing(_history(folder, saved)) as history, _tracked(prepared, built):
        prepared, swept = found_settings.rate(prepared, job(prepared, built, folder, watch, history), watch, folder)
        found |= swept
        found_settings.keep(folder, prepared.recipe, found if swept else {})
        with closing(Training(job(prepared, built, folder, watch, history), key=_key(prepared))) as training:
            if saved:
                _resume(training, saved, watch.say)
            back.begin(training, saved, history)
            plan = folder.json("plan.json") if saved else {"predicted": _rehearsed(prepared, training, built, watch.say, found)}
            plan |= {"found": found} if found else {}
            if world.first:
                writes.check(training, plan["predicted"], folder.path, watch.say)
            artifact.write_json(folder.path / "plan.json", plan)
            written = writes.moment(training) + writes.model(training)
            training.reserve(*afterwards.kept(prepared, built, plan["predicted"], folder.path, started=pair.watch.started, written=written))
            pair.forecast(plan["predicted"])
            started = training.elapsed()
            try:
                with back.met(training), world.abreast():
                    position = training.run()
            except Interrupted as stop:
                raise Interrupted(stop.found, fix=f"go on with: {folder.going_on}") from None
    if not world.first:
        return {}
    teacher.dismiss(built.learner)
    events = read(folder.history)
    rate = _rates(events, position.training)
    measured = {"seconds": round(training.elapsed(), 2), "peak_bytes": peak_memory(), "steps": position.step, **rate}
    pair.trained(measured | {"start_seconds": started, "planned_steps": training.total}, built, events)
    artifact.write_json(folder.path / "plan.json", plan | {"measured": measured})
    found_settings.say_memory(prepared.recipe, peak_memory(), watch.say)
    best = {"best_step": position.best_step, "best_by": list(prepared.task.chosen_by), "steps": position.step}
    best |= {"rate_lowered": position.lowered} if position.lowered else {}
    return conclude(prepared, whole, folder, best)


def _resume(training: Training, saved: checkpoint.Checkpoint, say: Say) -> None:
    training.resume(saved)
    say(f"resumed   from step {saved.step} of {training.total}")
    if (before := saved.state.get("workers", 1)) != (now := training.job.world.size):
        say(f"resumed   by {now} worker{'s' if now > 1 else ''}, begun by {before}: sums may differ in their last bits")
    elif (before := saved.state["members"]) != (now := len(training.crew.models)):
        say(f"warning   {before} cores shared an update before, {now} do now: sums may differ in their last bits")


def _fitted(pair: Pair, built: Built, folder: RunFolder, watch: Watch) -> dict[str, Any]:
    """The same where the head is fitted to all rows at once: no step, one measurement."""
    prepared, started, peak = pair.prepared, time.perf_counter(), {"peak_bytes": peak_memory(), "steps": 0}
    watch.say(f"fitted    {prepared.method.fit(built.learner, built.feed.encoded.dense)}")
    _, figures = _evaluate(prepared, built, watch.judged)
    with closing(History(folder.history)) as history:
        by = prepared.task.chosen_by[0]
        history.note({"event": "evaluation", "step": 0, "epoch": 0, **figures, "by": by, "best_step": 0})
    seconds = round(time.monotonic() - watch.started, 2)
    spent = {"seconds": seconds, "fit_seconds": round(time.perf_counter() - started, 2), **peak}
    pair.fitted(seconds, float(spent["fit_seconds"]))
    artifact.write_json(folder.path / "plan.json", {"measured": spent})
    found_settings.say_memory(prepared.recipe, peak_memory(), watch.say)
    return conclude(prepared, built, folder, {"best_step": 0, "best_by": list(prepared.task.chosen_by), "steps": 0})


@contextmanager
def _saving(built: Built) -> Iterator[None]:
    """Checkpoints of several workers are written out, however the training ends; the error that ended it counts before theirs."""
    try:
        yield
    except BaseException:
        if built.saver:
            with suppress(RootstockError):
                built.saver.close()
        raise
    if built.saver:
        built.saver.close()


@contextmanager
def _tracked(prepared: Prepared, built: Built) -> Iterator[None]:
    """What trackers were told is written out, however the training ends."""
    try:
        yield
    finally:
        if prepared.recipe.track:
            built.accelerator.end_training()


def _history(folder: RunFolder, saved: checkpoint.Checkpoint | None) -> History:
    """A new history, or the old one up to the checkpoint: a measurement that came after it will be made again."""
    if saved is None:
        return History(folder.history)
    return History(folder.history, keep_until=saved.step, measured=saved.state["evaluated_at"] == saved.step)


def _rates(events: list[Event], seconds: float) -> dict[str, float]:
    """Padded tokens learned from in all, and rows and padded tokens of each second of training, evaluations left out."""
    seen = {key: sum(event[key] for event in events if event["event"] == "step") for key in ("rows", "tokens")}
    return {"tokens": seen["tokens"]} | {f"{key}_per_second": round(total / max(seconds, 1e-9), 1) for key, total in seen.items()}


def dry_run(prepared: Prepared, folder: RunFolder, watch: Watch, *, leave: Path | None = None) -> dict[str, Any]:
    """Build the model and try one step; the folder is only a place for what training would write.

    leave: where the model goes as it is before training, whole, for who has to know what this run would leave.
    """
    prepared, found = found_settings.batch(prepared, watch) if prepared.recipe.budget.memory else (prepared, {})
    prepared = found_settings.usual(prepared)
    built = build(prepared, None, watch, dry=True)
    if prepared.method.at_once:
        return {"seconds": round(time.monotonic() - watch.started + built.ahead, 2), "peak_bytes": peak_memory(), "steps": 0}
    with (
        closing(History(folder.path / "history.jsonl")) as history,
        closing(Training(job(prepared, built, folder, watch, history))) as training,
    ):
        predicted = _rehearsed(prepared, training, built, watch.say, found)
    if leave:
        _leave(prepared, built, leave)
    return predicted


def _rehearsed(prepared: Prepared, training: Training, built: Built, say: Say, found: dict[str, Any]) -> dict[str, Any]:
    """What a step tells of the whole; UsageError where that is more than the budget of memory, unless the batch was found for it."""
    predicted = try_step(training, built, say)
    if "micro_tokens" not in found:
        found_settings.check_memory(prepared.recipe, predicted["peak_bytes"])
    return predicted


def _leave(prepared: Prepared, built: Built, place: Path) -> None:
    if built.lower:
        built.lower.cut.close()
    place.mkdir(parents=True)
    if prepared.saves == "adapter" and built.kept:
        saving.save_model(prepared.method.merge(built.kept()), prepared.tokenizer, place)
    else:
        built.save(place)


def job(prepared: Prepared, built: Built, folder: RunFolder, watch: Watch, history: History) -> Job:
    """What the loop is told."""
    recipe = prepared.recipe

    def note(event: Event) -> None:
        history.note(event)
        if event["event"] == "memory":
            return watch.say(f"memory    too little for step {event['step']}: its rows, and those to come, go in {event['parts']} parts")
        watch.event(event)
        if recipe.track:
            built.accelerator.log({key: value for key, value in event.items() if isinstance(value, int | float)}, step=event["step"])

    def save(moment: checkpoint.Checkpoint) -> None:
        history.sync()
        if built.saver:
            built.saver.save(moment)
        else:
            checkpoint.save(folder.checkpoints, moment, keep=recipe.training.keep)

    return Job(
        model=built.learner,
        task=prepared.task,
        method=prepared.method,
        feed=built.feed,
        settings=recipe.training,
        dtype=built.dtype,
        fresh=built.fresh,
        accelerator=built.accelerator,
        evaluate=partial(_evaluate, prepared, built, watch.judged),
        note=note,
        used=None if recipe.cluster.strategy != "ddp" else used(prepared, [feed.encoded for feed in (built.feed, built.feed_validation)]),
        save=save,
        stop=watch.stop,
        enough=watch.enough,
        teacher=recipe.teacher,
        seconds=recipe.budget.minutes * 60 if recipe.budget.minutes else None,
        started=watch.started,
        world=built.world,
        shards=built.shards,
    )


def used(prepared: Prepared, sides: Sequence[Encoded]) -> np.ndarray | None:
    """Token ids that occur in the rows at hand: of the embeddings only theirs are trained.

    None where the rows are no tokens, and where the same table is asked for every token's score.
    """
    if not isinstance(prepared, LabelledRows | Joint) or not sides[0].tokens or prepared.task.writes:
        return None
    padding = np.array([prepared.tokenizer.pad_token_id])
    ids = [held.flat for side in sides for name, held in side.tokens.items() if name.startswith(IDS)]
    return np.unique(np.concatenate([*ids, padding]))


def _key(prepared: Prepared) -> str:
    """What a checkpoint belongs to: the recipe, base and rows that decide every step."""
    recipe = prepared.recipe.plain() | {"merge": None, "track": None, "accept": None}
    for key in ("ledger", "memory"):  # what was found for a budget of memory is in micro_tokens
        recipe["budget"].pop(key)
    if recipe.pop("cluster")["strategy"] != "ddp":  # the others train whole embedding tables
        recipe["strategy"] = "fsdp"
    for key in ("checkpoint_minutes", "checkpoint_steps", "keep"):
        recipe["training"].pop(key)
    for data in (recipe["data"], *(part["data"] for part in recipe["task"].get("parts", {}).values())):
        data |= {"train": None, "validation": None, "exclude": None}
    rows = [raw(array) for part in (prepared.encoded, prepared.encoded_validation) for array in part.arrays().values()]
    dtype = str(precision.choose(prepared.recipe.training.precision, prepared.device))
    if isinstance(prepared, LabelledRows) and prepared.teacher:
        recipe["teacher"]["run"] = prepared.teacher.digest
    return artifact.digest_json(
        [recipe | {"base": prepared.base.digest}, beneath.check(prepared.method, prepared.base), dtype, artifact.digest_bytes(*rows)]
    )


def _evaluate(prepared: Prepared, built: Built, judged: Callable[[Columns], None]) -> tuple[Score, dict[str, float]]:
    """How good the current state is, and its figures on the validation rows. judged: gets what they are made of."""
    if isinstance(prepared, Joint):
        figures = several.glance(prepared, built)
    else:
        assert isinstance(prepared.task, Uniform)
        columns = prepared.task.judged(measure(prepared, built, prepared.task, glance=True))
        judged(columns)
        figures = prepared.task.metrics(columns)
    return prepared.task.merit(figures), figures


def try_step(training: Training, built: Built, say: Say) -> dict[str, Any]:
    """One real forward and backward pass on the most expensive batch, before anything is spent; predicts time and memory."""
    state, rows = checkpoint.random_state(), built.feed.longest()
    started = time.perf_counter()
    fix = "lower training.micro_tokens or training.length, or use --method lora or feature-extraction"
    with fitting(f"a step on the {len(rows)} longest rows", fix=fix), workers.cut_as_read():
        training.rehearse(rows)
    # By the rows' own lengths, as the whole is counted below: an image passes as pixels, and costs what its patches do.
    each = (time.perf_counter() - started) / max(built.feed.padded(rows), 1)
    checkpoint.set_random_state(state)
    predicted: dict[str, Any] = {
        "seconds": round(training.elapsed() + built.ahead + each * _tokens(training, built), 2),
        "peak_bytes": peak_memory() + later(training, built, workers=training.job.world.size),
        "seconds_per_token": each,
        "longest_batch_rows": len(rows),
        "steps": training.total,
    }
    if built.lower:
        predicted["layers"] = built.lower.facts
    say(
        f"plan      {training.total:,} step{'s' if training.total > 1 else ''}, about {predicted['seconds']:,.0f} s and "
        f"{predicted['peak_bytes'] / 1e9:.1f} GB (tried one step, on the {len(rows)} longest row{'s' if len(rows) > 1 else ''})"
    )
    return predicted


_TRAVELLING = 4
"""Bytes of a gradient on its way between workers: each is copied into a larger piece for that."""


def later(training: Training, built: Built, *, workers: int) -> int:
    """Bytes that the first step has not met, by the parts of a plan: summed gradients, best values, and products of other shapes.

    Of several workers also gradients on their way.
    """
    job, feed = training.job, built.feed
    held = memory.later(training.learns, bf16=job.dtype != torch.float32)
    held += _TRAVELLING * training.learns if workers > 1 else 0
    if built.accelerator.device.type == "cpu":
        held += memory.ending(sum(p.nbytes for p in job.model.parameters() if p.dtype == torch.bfloat16))
    if built.accelerator.device.type != "cpu" or not feed.encoded.tokens:
        return held
    products, members = memory.products(job.model), len(training.crew.models)
    if not products.answering:
        return held
    learned = feed.shapes(training.total, members) - feed.parts(feed.longest(), members)
    answered = built.feed_validation.answered(torch.get_num_threads())
    return held + products.count(learned, answered, most=kept_products()) * memory.PRODUCT_BYTES


def _tokens(training: Training, built: Built) -> float:
    """Padded tokens of the whole training; one of an evaluation counts a third, as it is only a forward pass."""
    plan = built.feed.epoch(0)
    epochs = training.total / len(plan)
    learned = sum(map(built.feed.padded, plan))
    return epochs * (learned + training.job.settings.evaluations * float(built.feed_validation.encoded.lengths.sum()) / 3)


def _saved(folder: RunFolder, prepared: Prepared, say: Say, world: World) -> checkpoint.Checkpoint | None:
    found, damaged = checkpoint.newest(folder.checkpoints) if world.first else (None, [])
    for line in damaged:
        say(f"warning   {line}")
    step = int(world.told(str(found.step if found else 0)))
    if world.first:
        checkpoint.forget_after(folder.checkpoints, step)
    elif step:
        found = checkpoint.read(checkpoint.place(folder.checkpoints, step), checked=False)
    if found is None:
        say("resumed   from the start: there is no whole checkpoint")
    elif found.state["key"] != _key(prepared):
        raise ContractRefused(
            f"the checkpoint {found.step} of {folder.path} belongs to another recipe, base or data",
            wanted="the run as it was started",
            fix="put these back as they were, or start a new run in another folder",
        )
    return found


def conclude(prepared: Prepared, built: Built, folder: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the best state, write everything else that a run folder holds."""
    if isinstance(prepared, Joint):
        return several_end.conclude(prepared, built, folder, facts)
    if isinstance(prepared, LabelledRows):
        return finish.conclude(prepared, built, folder, facts)
    return held_out.conclude(prepared, built, folder, facts)
