"""From prepared rows to a finished run folder: build, try one step, train, measure, write."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from rootstock.bases import load as bases
from rootstock.core import artifact, seed
from rootstock.core.errors import Interrupted, OutOfMemory, RecipeError
from rootstock.core.method import Loaded, Tap
from rootstock.core.resources import peak_memory
from rootstock.core.rows import Columns, Encoded
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.task import Task
from rootstock.data import batches, cache, ledger
from rootstock.evaluation import score as evaluation
from rootstock.loop import checkpoint, infer, precision
from rootstock.loop.history import History, read
from rootstock.loop.train import Job, Score, Training
from rootstock.run import finish
from rootstock.run.prepare import Prepared, Say

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How a run talks and is talked to: notes for a person, events for a progress line, and the question whether to stop."""

    say: Say = lambda text: None
    event: Callable[[Event], None] = lambda event: None
    stop: Callable[[], bool] = lambda: False
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model under its method. learner: what the loop trains: the model, or only its head where the rest is computed once."""

    model: nn.Module
    learner: nn.Module
    loaded: Loaded
    tap: Tap | None
    feed: batches.Feed
    feed_validation: batches.Feed
    dtype: torch.dtype
    fresh: frozenset[str]
    accelerator: Accelerator
    cached: bool


def execute(prepared: Prepared, folder: RunFolder, watch: Watch, *, resume: bool = False) -> dict[str, Any]:
    """Carry a prepared run out; returns the content of metrics.json.

    Raises LedgerRefused before anything is built, OutOfMemory from the trial step, Interrupted after saving a checkpoint.
    """
    ledger.refuse(prepared.ledger, prepared.recipe.accept)
    artifact.write_text(folder.recipe, recipe_text(prepared.recipe))
    artifact.write_json(folder.path / "ledger.json", prepared.ledger)
    built = build(prepared, folder, watch)
    saved = _saved(folder, prepared, watch.say) if resume else None
    with closing(History(folder.history, keep_until=saved.step if saved else None)) as history:
        training = Training(_job(prepared, built, folder, watch, history), key=_key(prepared))
        if saved:
            training.resume(saved)
            watch.say(f"resumed   from step {saved.step} of {training.total}")
        plan = folder.json("plan.json") if saved else {"predicted": try_step(training, built, watch.say)}
        artifact.write_json(folder.path / "plan.json", plan)
        try:
            position = training.run()
        except Interrupted as stop:
            raise Interrupted(stop.found, fix=f"go on with: rootstock run {folder.recipe} --resume") from None
    measured = {"seconds": round(training.elapsed(), 2), "peak_bytes": peak_memory(), "steps": position.step}
    artifact.write_json(folder.path / "plan.json", plan | {"measured": measured})
    return conclude(prepared, built, folder, watch, {"best_step": position.best_step, "steps": position.step})


def dry_run(prepared: Prepared, folder: RunFolder, watch: Watch) -> dict[str, Any]:
    """Build the model and try one step; the folder is only a place for what training would write."""
    built = build(prepared, None, watch)
    with closing(History(folder.path / "history.jsonl")) as history:
        return try_step(Training(_job(prepared, built, folder, watch, history)), built, watch.say)


def build(prepared: Prepared, folder: RunFolder | None, watch: Watch) -> Built:
    """Load the base, apply the method, and compute what will never change."""
    recipe = prepared.recipe
    accelerator = _accelerator(recipe.track, folder)
    seed.seed_everything(recipe.seed)
    torch.use_deterministic_algorithms(accelerator.device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads memory it did not write
    loaded = bases.load(prepared.base, prepared.task.head(), seed=recipe.seed, dropout=recipe.training.dropout)
    bases.fit(prepared.tokenizer, loaded.model)
    model = accelerator.prepare_model(prepared.method.apply(loaded))
    seed.seed_everything(seed.derive(recipe.seed, "training"))
    tap = prepared.method.tap(model, loaded)
    dtype = precision.choose(recipe.training.precision, accelerator.device.type)
    rows, validation, cached = prepared.encoded, prepared.encoded_validation, False
    if tap:
        started = time.monotonic()
        (rows, was), (validation, _) = (features(prepared, tap, part, model, dtype) for part in (rows, validation))
        cached = was
        watch.say(
            f"features  {len(rows):,} + {len(validation):,} rows "
            + ("from the cache" if cached else f"computed once in {time.monotonic() - started:.1f} s")
        )
    return Built(
        model=model,
        learner=tap.head if tap else model,
        loaded=loaded,
        tap=tap,
        feed=prepared.feed(rows),
        feed_validation=prepared.feed(validation),
        dtype=torch.float32 if tap else dtype,
        fresh=loaded.fresh,
        accelerator=accelerator,
        cached=cached,
    )


def features(prepared: Prepared, tap: Tap, encoded: Encoded, model: nn.Module, dtype: torch.dtype) -> tuple[Encoded, bool]:
    """The frozen base's vector of each row, from the cache where these rows met this base before."""
    device = next(model.parameters()).device
    tokens = {name: artifact.digest_bytes(ragged.flat.tobytes(), ragged.offsets.tobytes()) for name, ragged in encoded.tokens.items()}
    key = {"base": prepared.base.digest, "tokens": tokens, "tap": tap.key, "dtype": str(dtype), "device": device.type, "version": 1}

    def make() -> dict[str, np.ndarray]:
        with precision.computing(tap.body, dtype):
            return dict(infer.infer(tap.body, prepared.feed(encoded), _vectors, device=device))

    arrays, cached = cache.remembered("features", key, make)
    ones = np.ones(len(encoded), dtype=np.int64)
    return Encoded({}, {**encoded.dense, "features": arrays["features"]}, ones), cached


def _vectors(body: nn.Module, batch: Any) -> Columns:
    found = body(**{name: value for name, value in batch.items() if name != "labels"})
    return {"features": found.float().cpu().numpy()}


def _accelerator(track: str | None, folder: RunFolder | None) -> Accelerator:
    if track is None or folder is None:
        return Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    try:
        accelerator = Accelerator(
            cpu=not torch.cuda.is_available(), mixed_precision="no", log_with=track, project_dir=folder.path / "track"
        )
        accelerator.init_trackers("rootstock")
    except (ValueError, ImportError) as error:
        raise RecipeError(f"track: {track!r} can't be used: {error}", wanted="tensorboard, wandb or mlflow, installed") from None
    return accelerator


def _job(prepared: Prepared, built: Built, folder: RunFolder, watch: Watch, history: History) -> Job:
    recipe = prepared.recipe

    def note(event: Event) -> None:
        history.note(event)
        watch.event(event)
        if recipe.track:
            built.accelerator.log({key: value for key, value in event.items() if isinstance(value, int | float)}, step=event["step"])

    return Job(
        model=built.learner,
        task=prepared.task,
        method=prepared.method,
        feed=built.feed,
        settings=recipe.training,
        dtype=built.dtype,
        fresh=built.fresh,
        accelerator=built.accelerator,
        evaluate=partial(_evaluate, prepared, built),
        note=note,
        used=None if built.tap else _used(built),
        save=partial(checkpoint.save, folder.checkpoints, keep=recipe.training.keep),
        stop=watch.stop,
        seconds=recipe.budget.minutes * 60 * 0.95 if recipe.budget.minutes else None,
        started=watch.started,
    )


def _used(built: Built) -> np.ndarray:
    """Token ids that occur in the rows at hand."""
    feeds = (built.feed, built.feed_validation)
    return np.unique(np.concatenate([feed.encoded.tokens["input_ids"].flat for feed in feeds]))


def answer(prepared: Prepared, built: Built, task: Task) -> Columns:
    """Scores and true answers of the validation rows."""
    found = infer.predict(built.learner, built.feed_validation, task, device=built.accelerator.device)
    return {**found, "answers": task.answers(prepared.validation)}


def _key(prepared: Prepared) -> str:
    """What a checkpoint belongs to: the recipe, base and rows that decide every step."""
    recipe = prepared.recipe.plain() | {"merge": None, "track": None, "accept": None}
    for key in ("checkpoint_minutes", "checkpoint_steps", "keep"):
        recipe["training"].pop(key)
    recipe["data"] |= {"train": None, "validation": None}
    tokens = [ragged.flat.tobytes() for part in (prepared.encoded, prepared.encoded_validation) for ragged in part.tokens.values()]
    return artifact.digest_json([recipe | {"base": prepared.base.digest}, artifact.digest_bytes(*tokens)])


def _evaluate(prepared: Prepared, built: Built) -> tuple[Score, dict[str, float]]:
    """The first headline figure; on few rows many evaluations tie, then the smaller error decides."""
    figures = prepared.task.metrics(answer(prepared, built, prepared.task))
    error = figures.get("log_loss", figures.get("root_mean_squared_error", 0.0))
    return (figures.get(prepared.task.headline[0], -1.0), -error), figures


def try_step(training: Training, built: Built, say: Say) -> dict[str, Any]:
    """One real forward and backward pass on the most expensive batch, before anything is spent; predicts time and memory."""
    state, rows = checkpoint.random_state(), built.feed.longest()
    started, tokens = time.perf_counter(), 0
    try:
        tokens = training.rehearse(rows)
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise OutOfMemory(
            f"a step on the {len(rows)} longest rows does not fit in memory",
            fix="lower training.micro_tokens or training.length, or use --method lora or feature-extraction",
        ) from error
    seconds = time.perf_counter() - started
    checkpoint.set_random_state(state)
    every = sum(int(built.feed.encoded.lengths[batch].max()) * len(batch) for batch in built.feed.epoch(0))
    each = training.total / max(len(built.feed.epoch(0)), 1)
    predicted = {
        "seconds": round(seconds / max(tokens, 1) * every * each, 2),
        "peak_bytes": peak_memory(),
        "longest_batch_rows": len(rows),
        "steps": training.total,
    }
    say(
        f"plan      {training.total:,} steps, about {predicted['seconds']:,.0f} s and {predicted['peak_bytes'] / 1e9:.1f} GB "
        f"(one step on the {len(rows)} longest rows)"
    )
    return predicted


def _saved(folder: RunFolder, prepared: Prepared, say: Say) -> checkpoint.Checkpoint | None:
    found, damaged = checkpoint.newest(folder.checkpoints)
    for line in damaged:
        say(f"warning   {line}")
    if found is None:
        say("resumed   from the start: there is no whole checkpoint")
        return None
    return found


def conclude(prepared: Prepared, built: Built, folder: RunFolder, watch: Watch, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the best state, write everything else that a run folder holds."""
    task = prepared.task.settle(built.model, built.fresh)
    with precision.computing(built.learner, built.dtype, built.fresh):
        columns = answer(prepared, built, task)
    metrics = evaluation.score(
        columns, task, seed=prepared.recipe.seed, overlap_N=finish.overlap(prepared), baselines=finish.baselines(prepared)
    )
    metrics |= facts
    finish.write(prepared, built, folder, task, finish.Measured(columns, metrics, read(folder.history)))
    return metrics
