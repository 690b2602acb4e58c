"""What the base learns before its vectors are computed, where a method wants that: a training of its own, resumable as the other is."""

import math
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rootstock.core import artifact, seed
from rootstock.core.errors import Interrupted, RecipeError, fitting
from rootstock.core.method import Tap, WarmUp
from rootstock.core.rows import raw
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Event, Watch
from rootstock.data import batches
from rootstock.loop import checkpoint
from rootstock.loop.history import History
from rootstock.loop.job import Job
from rootstock.loop.train import Training
from rootstock.loop.trim import untrim
from rootstock.run.prepared import Place, Prepared

_SHARE = 0.6
"""Of --minutes, after which it ends: the features and the head come after."""
_DECAY = 0.01
"""AdamW's own, as in full."""
_FIX = "lower training.micro_tokens or training.length"


@dataclass(frozen=True, kw_only=True)
class Where:
    """folder: of the run; None in a rehearsal, which learns nothing."""

    folder: RunFolder | None
    place: Place
    accelerator: Accelerator


def warmed(prepared: Prepared, tap: Tap | None, where: Where, watch: Watch) -> tuple[Tap | None, float]:
    """The tap with what lies below it trained and frozen again, where the method warms up.

    And seconds: those that a rehearsal left out, else those that were spent on it before this process began.

    Raises RecipeError where the base has no tap, Interrupted after saving a checkpoint.
    """
    warm = prepared.method.warm_up()
    if warm is None:
        return tap, 0.0
    if tap is None:
        raise RecipeError(
            f"which vector stands for a text in {prepared.base.name} is not known",
            wanted="a base whose classifier reads one vector",
            fix="choose --method full or lora, or another base",
        )
    if aid := next((key for key in ("adversary", "mixup") if getattr(prepared.recipe.training, key)), None):
        raise RecipeError(
            f"training.{aid} changes embedded tokens, and the head of {prepared.recipe.method['name']} learns on vectors that are kept",
            wanted="a method that runs the base in each update",
            fix=f"leave training.{aid} out, or choose --method full or lora",
        )
    learn = [(parameter, parameter.requires_grad) for parameter in tap.body.parameters()]
    for parameter, _ in learn:
        parameter.requires_grad_(True)
    ahead = _learned(prepared, _Learner(tap.body), warm, where, watch)
    for parameter, before in learn:
        parameter.requires_grad_(before)
    # By the very weights: with a budget of time the same recipe may end at others. No skeleton of the base serves them.
    told = artifact.digest_bytes(*(raw(each.detach().cpu().numpy()) for _, each in sorted(tap.body.state_dict().items())))
    return replace(tap, key=f"{tap.key}/warm={told}", linear=None), ahead


class _Learner(nn.Module):
    """What lies below the tap, with the embeddings that the loop trims."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, **batch: Tensor) -> Tensor:
        """One vector a row, [B, H]."""
        vectors_BH: Tensor = self.body(**batch)
        return vectors_BH

    @property
    def config(self) -> Any:
        """The base's: it tells of what is dropped out where no module does."""
        return self._plain().config

    def get_input_embeddings(self) -> Any:
        """The table of token embeddings."""
        return self._plain().get_input_embeddings()

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Another in its place."""
        self._plain().set_input_embeddings(table)

    def _plain(self) -> Any:
        from transformers import PreTrainedModel  # the library takes seconds: only who has a model pays

        return next(module for module in self.body.modules() if isinstance(module, PreTrainedModel))


def _learned(prepared: Prepared, learner: _Learner, warm: WarmUp, where: Where, watch: Watch) -> float:
    """Train it in place; in a rehearsal only a step is tried. Returns the seconds that a rehearsal foresees, or that were spent before."""
    torch.use_deterministic_algorithms(where.place.device.type == "cpu")
    seed.seed_everything(seed.derive(prepared.recipe.seed, "warm-up"))
    if where.folder is None:
        with closing(Training(_job(prepared, learner, warm, where))) as training:
            ahead = _tried(training)
            training.weights.restore()
            untrim(learner)
            return ahead
    saved, damaged = checkpoint.newest(_checkpoints(where.folder))
    for line in damaged:
        watch.say(f"warning   {line}")
    log = _Log(where.folder, watch, saved)
    job = _job(prepared, learner, warm, where)
    job = replace(job, note=log.note, save=log.save, evaluate=log.last, stop=watch.stop, started=watch.started)
    with closing(log.history), closing(Training(job, key=_key(prepared, job))) as training:
        ahead = _tried(training)
        if saved:
            training.resume(saved)
            watch.say(f"warm-up   goes on from update {saved.step} of {training.total}")
        else:
            watch.say(f"warm-up   the base learns which texts share a class: {training.total:,} updates, about {ahead:,.0f} s")
        try:
            training.run()
        except Interrupted as stop:
            raise Interrupted(f"in the warm-up: {stop.found}", fix=f"go on with: {where.folder.going_on}") from None
        log.save(training.checkpoint())  # or an interruption of what follows would have it done again
    return float(saved.state["seconds"]) if saved else 0.0


def _job(prepared: Prepared, learner: _Learner, warm: WarmUp, where: Where) -> Job:
    """The training, but for what it tells and is told."""
    recipe, encoded = prepared.recipe, prepared.encoded
    training = recipe.training
    feed = batches.Feed(encoded, prepared.task, prepared.tokenizer, warm.batch_tokens, training.micro, recipe.seed)
    fewest = math.ceil(warm.updates * math.log2(max(len(getattr(prepared.task, "labels", ())), 2)))
    updates = max(fewest, math.ceil(warm.epochs * len(feed.epoch(0))))
    own = {"steps": updates, "rate": warm.rate, "batch_tokens": warm.batch_tokens, "weight_decay": _DECAY, "evaluations": 1}
    off = {"layer_decay": 1.0, "average": "none", "adversary": 0.0, "patience": 0, "schedule": "linear", "warmup": 0.1}
    return Job(
        model=learner,
        task=warm.coupled,
        method=prepared.method,
        feed=feed,
        settings=training.model_copy(update=own | off),
        dtype=where.place.dtype,
        fresh=frozenset(),
        accelerator=where.accelerator,
        evaluate=lambda: ((0.0,), {}),
        note=lambda event: None,
        save=lambda moment: None,
        used=np.unique(np.append(encoded.tokens["input_ids"].flat, prepared.tokenizer.pad_token_id)),
        seconds=_SHARE * recipe.budget.minutes * 60 if recipe.budget.minutes else None,
    )


def _tried(training: Training) -> float:
    """Seconds of all updates, told by one on the longest rows, which is forgotten."""
    feed, state, started = training.job.feed, checkpoint.random_state(), time.perf_counter()
    assert isinstance(feed, batches.Feed)
    rows = feed.longest()
    with fitting(f"a step on the {len(rows)} longest rows", fix=_FIX):
        tokens = training.rehearse(rows)
    checkpoint.set_random_state(state)
    each = (time.perf_counter() - started) / tokens
    return each * float(feed.encoded.lengths.sum()) / len(feed.epoch(0)) * training.total


class _Log:
    """What the training tells: its events, its checkpoints, and that its last state is the one to keep."""

    def __init__(self, folder: RunFolder, watch: Watch, saved: checkpoint.Checkpoint | None) -> None:
        self.history = History(folder.path / "warm-up.jsonl", keep_until=saved.step if saved else None)
        self._folder, self._watch, self._step = folder, watch, saved.step if saved else 0

    def note(self, event: Event) -> None:
        """An update into the history and onto the live line."""
        if event["event"] == "step":
            self._step = event["step"]
            self.history.note(event)
            self._watch.event({**event, "event": "warm-up"})

    def last(self) -> tuple[tuple[float, ...], dict[str, float]]:
        """A later state is always better: nothing is held out by which another could be."""
        return (float(self._step),), {}

    def save(self, moment: checkpoint.Checkpoint) -> None:
        """A checkpoint beside those of the head's training."""
        self.history.sync()
        checkpoint.save(_checkpoints(self._folder), moment, keep=1)


def _checkpoints(folder: RunFolder) -> Path:
    return folder.checkpoints / "warm-up"


def _key(prepared: Prepared, job: Job) -> str:
    """What a checkpoint of it belongs to."""
    settings = job.settings.model_dump() | dict.fromkeys(("checkpoint_minutes", "checkpoint_steps", "keep"))
    rows = artifact.digest_bytes(*(raw(array) for array in prepared.encoded.arrays().values()))
    held = [prepared.base.digest, prepared.method.plain(), prepared.recipe.seed, settings, str(job.dtype), rows]
    return artifact.digest_json(held)
