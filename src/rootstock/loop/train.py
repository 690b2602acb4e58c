"""The one training loop. It knows no task and no method by name."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from rootstock.core import layers
from rootstock.core.coupled import Coupled
from rootstock.core.errors import ContractRefused, Diverged, Interrupted
from rootstock.core.first_token import first_alone
from rootstock.core.products import by_products
from rootstock.core.task import Batch, Loss
from rootstock.loop.adversary import attackable, attacked
from rootstock.loop.average import Average
from rootstock.loop.checkpoint import Checkpoint, random_state, set_random_state
from rootstock.loop.clock import Clock
from rootstock.loop.coupled import Passed, coupled_gradients, padded_tokens
from rootstock.loop.crew import Crew, members, shares
from rootstock.loop.infer import to_device
from rootstock.loop.job import Job, Score
from rootstock.loop.loss import loss_for
from rootstock.loop.offending import offending
from rootstock.loop.optimizer import Optimizer, decayed_names
from rootstock.loop.precision import Weights
from rootstock.loop.schedule import factor, updates
from rootstock.loop.shortage import Room
from rootstock.loop.together import passes_together, together
from rootstock.loop.trim import trim, untrim

_WORTH_SAVING = 30.0
"""Seconds since the last checkpoint from which on another is saved before something that may fail."""
LOWER = 0.25
"""The rate's factor each time that a training has gone back because its loss was no number."""


@dataclass
class Position:
    """Where a training stands: all of it is saved. batch: next batch of the epoch. training: seconds spent in updates alone.

    lowered: how often it has gone back to an earlier state, to go on from there at a lower rate.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: Score | None = None
    best_step: int = 0
    worse: int = 0
    training: float = 0.0
    lowered: int = 0


class Training:
    """One training, from a start or a checkpoint to the best state that it met."""

    def __init__(self, job: Job, *, key: str = "") -> None:
        self.job, self.at, self.key = job, Position(), key
        self._loss = loss_for(job.model, job.task, job.settings, job.teacher)
        decays = decayed_names(job.model)
        if job.used is not None:
            trim(job.model, job.used)
        self.weights = job.shards or Weights(job.model, job.dtype, job.fresh)
        settings = job.settings
        assert isinstance(settings.rate, float), "a rate is found before the training"
        assert settings.weight_decay is not None
        groups = job.method.groups(job.model, settings.rate)
        if settings.layer_decay != 1:
            groups = layers.decayed(groups, job.model, settings.layer_decay)
        self.optimizer = Optimizer(self.weights.masters, groups, decays=decays, decay=settings.weight_decay)
        device = job.accelerator.device
        with ExitStack() as opened:  # all of it is closed again where a part of it fails
            plain = job.dtype == torch.bfloat16 and device.type == "cpu" and not job.shards
            opened.enter_context(by_products(job.model, wanted=plain))
            opened.enter_context(first_alone(job.model, wanted=not job.shards, kept=True))
            alone = settings.mixup or job.shards  # mixtures are drawn at random
            twins = 1 if alone else members(job.model, (settings.batch_tokens or 0) // job.world.size, device)
            self.crew = opened.enter_context(Crew(job.model, twins))
            self._open = opened.pop_all()
        self._members = [dict(model.named_parameters()) for model in self.crew.models]
        self._parts = shares({name: master.numel() for name, master in self.weights.masters.items()}, len(self.crew.models))
        self._room = Room(len(self.crew.models), splits=not passes_together(job))
        self.average = Average(settings.average, settings.average_decay)
        if settings.adversary:
            attackable(job.model, job.task)
        self.clock = Clock(job.seconds)
        self.best: dict[str, Tensor] = {}
        job.world.one()
        self._saved_at = job.world.time()
        self._before = 0.0

    def run(self) -> Position:
        """Train to the end, leave the best values in the model in fp32; raises Interrupted after saving when asked to stop."""
        self._learn()
        self.weights.load(self.best or self.weights.state())
        self.weights.restore()
        untrim(self.job.model)
        return self.at

    def _learn(self) -> None:
        self._train_mode()
        if self.at.step and self._evaluation_due() and not self._evaluated_now():
            self._evaluate()  # the checkpoint was saved just before
        while not self._done():
            started = time.perf_counter()
            self._update()
            (took,) = self.job.world.one(time.perf_counter() - started)
            self.at.training += took
            self.clock.updated(took)
            if self._evaluation_due() and self.clock.fits(self.elapsed()):
                self._save_what_is_new()
                self._evaluate()
            self._maybe_save()
        self._save_what_is_new()
        if self.at.best_step != self.at.step and not self._evaluated_now():
            self._evaluate()

    def close(self) -> None:
        """Let threads and twins go."""
        self._open.close()

    def _train_mode(self) -> None:
        for model in self.crew.models:
            model.train()

    def rehearse(self, rows: np.ndarray) -> int:
        """Forward and backward on these rows, then forget it; returns the padded tokens that were seen."""
        self._train_mode()
        tokens = self._passed(rows).tokens
        self._forget()
        return tokens

    def trial(self, factor: float) -> float | None:
        """One update at `factor` times the peak rate; the mean loss before it, None where nothing was asked. Diverged where it is none."""
        self._train_mode()
        self.job.method.advance(self.job.model, 0.0)
        total, count, _ = self._gradients(self.job.feed.epoch(self.at.epoch)[self.at.batch])
        if not math.isfinite(total):
            raise Diverged(f"the loss became {total}")
        self.optimizer.rate(factor)
        self._step(count)
        self._advance()
        return total / count if count else None

    @property
    def learns(self) -> int:
        """Parameters that learn."""
        return sum(master.numel() for master in self.weights.masters.values())

    # -- one update ---------------------------------------------------------------------------------------------------

    def _update(self) -> None:
        job, started = self.job, time.perf_counter()
        rows = job.feed.epoch(self.at.epoch)[self.at.batch]
        progress = self.progress()
        job.method.advance(job.model, progress)
        total, count, tokens = self._gradients(rows)
        if not math.isfinite(total):
            raise self._diverged(total, rows)
        lower = LOWER**self.at.lowered
        rate = self.optimizer.rate(lower * factor(job.settings.schedule, self._next_progress(), job.settings.warmup))
        norm = self._step(count)
        self._advance()
        self.average.take(self.weights.state(), self.progress())
        loss = total / count if count else None
        event = {"event": "step", "step": self.at.step, "epoch": self._epochs(), "loss": loss, "rate": rate, "gradient_norm": norm}
        spent = {
            "tokens": tokens,
            "rows": len(rows),
            "seconds": round(time.perf_counter() - started, 4),
            "progress": round(self.progress(), 5),
        }
        job.note(event | {"batch": job.feed.digest(rows)} | spent)

    def _diverged(self, total: float, rows: np.ndarray) -> Diverged:
        fix = "lower training.rate, or set training.precision to fp32"
        error = Diverged(f"the loss became {total} at step {self.at.step + 1}", fix=fix)
        if not isinstance(self.job.task, Coupled):  # there a row has a loss only beside others
            error.rows = offending(self.job.model, rows, loss=self._loss, batches=self._batches)
        return error

    def _step(self, count: int) -> float | None:
        """Change the weights by the gradients of `count` items; returns their norm. None, and no change, where nothing was asked."""
        if not count:
            self._forget()
            return None
        norms = [each for part in self._norms() for each in part]
        scale, norm = self.optimizer.scale(self.job.world.norms(norms), count, self.job.settings.clip)
        self.crew.share(partial(self._changed, scale=scale), self._parts)
        with torch.no_grad():
            self.weights.push(self.job.method.revise(self.weights.state(), self._next_progress()))
        return norm

    def _norms(self) -> list[list[Tensor]]:
        """Norms of the gradients, now where the optimizer reads them: summed over the members, and over the workers."""
        if self.job.world.size == 1:
            return self.crew.share(self._pulled, self._parts)
        self.crew.share(partial(self.weights.pull, members=self._members), self._parts)
        if shards := self.job.shards:  # torch has summed them in the backward pass
            return [self.optimizer.norms(shards.counted(names)) for names in self._parts]
        self.job.world.add(self.weights.masters)
        return self.crew.share(self.optimizer.norms, self._parts)

    def _pulled(self, names: list[str]) -> list[Tensor]:
        """The summed gradients of these parameters are where the optimizer reads them; their norms."""
        self.weights.pull(names, self._members)
        return self.optimizer.norms(names)

    def _changed(self, names: list[str], scale: Tensor) -> None:
        self.optimizer.update(names, scale)
        self.weights.push(names)

    def _forget(self) -> None:
        for model in self.crew.models:
            model.zero_grad(set_to_none=True)

    def _gradients(self, rows: np.ndarray) -> Passed:
        """The gradients of one update, in smaller parts where memory asks for them."""
        made, parts = self._room.made(partial(self._passed, rows), rows, feed=self.job.feed, forget=self._forget)
        if parts:
            self.job.note({"event": "memory", "step": self.at.step + 1, "parts": parts})
        return made

    def _passed(self, rows: np.ndarray) -> Passed:
        """Forward and backward of one update's rows on all members, and all workers."""
        if self.job.world.size > 1:
            return together(rows, self.job, self.crew, work=self._pass, batches=self._batches, loss=self._loss)
        shards = self.job.feed.shards(rows, len(self.crew.models))
        if isinstance(self.job.task, Coupled):
            return coupled_gradients(self.crew, self.job.task, shards, self._batches)
        done = self.crew.gradients(self._pass, shards)
        return Passed(*(sum(column) for column in zip(*done, strict=True)))

    def _batches(self, rows: np.ndarray) -> Iterator[Batch]:
        """Micro-batches of the present update where the model is."""
        turn = self.job.feed.rounds(self.at.epoch)[self.at.batch]
        for batch in self.job.feed.micro_batches(rows, self._room.beside, epoch=self.at.epoch, round=turn):
            yield to_device(batch, self.job.accelerator.device)

    def _pass(self, model: nn.Module, rows: np.ndarray) -> Passed:
        """Forward and backward of these rows."""
        total, count, tokens = 0.0, 0, 0
        for batch in self._batches(rows):
            loss = self._learned_from(model, batch)
            total, count, tokens = total + loss.total.item(), count + loss.count, tokens + padded_tokens(batch)
        return Passed(total, count, tokens)

    def _learned_from(self, model: nn.Module, batch: Batch) -> Loss:
        """Loss of a batch, its gradients left with the model."""
        job = self.job
        if job.settings.adversary:
            return attacked(model, partial(self._loss, model, batch), job.accelerator.backward, job.settings.adversary)
        loss = self._loss(model, batch)
        job.accelerator.backward(loss.total)
        return loss

    def _advance(self) -> None:
        at = self.at
        at.step, at.batch = at.step + 1, at.batch + 1
        if at.batch == len(self.job.feed.epoch(at.epoch)):
            at.epoch, at.batch = at.epoch + 1, 0

    def _epochs(self) -> float:
        return round(self.at.epoch + self.at.batch / len(self.job.feed.epoch(self.at.epoch)), 4)

    # -- how far ------------------------------------------------------------------------------------------------------

    def progress(self) -> float:
        """Share of the training done: of the updates, or of the time where that runs out first."""
        return min(1.0, max(self.at.step / self.total, self.clock.progress(self.elapsed())))

    def reserve(self, fixed: float, passes: int, each: float) -> None:
        """Leave so many seconds of the budget, and passes over the validation rows, to what follows."""
        fixed, each = self.job.world.one(fixed, each)
        self.clock.reserve(fixed, passes=passes, each=each, begun=self.elapsed() if self.at.step == 0 else 0.0)

    @cached_property
    def total(self) -> int:
        """Updates that the settings ask for."""
        return updates(self.job.settings, self.job.feed)

    def elapsed(self) -> float:
        """Seconds since the job started, those before an interruption included."""
        return self._before + self.job.world.time() - self.job.started

    def _next_progress(self) -> float:
        """Progress at which the rate is read: the middle of the update, so that neither the first nor the last has rate zero."""
        return min(1.0, self.progress() + 0.5 * max(1 / self.total, self.clock.share))

    def _done(self) -> bool:
        patience = self.job.settings.patience
        ended = self.at.step > 0 and (self.progress() >= 1 or self.job.enough(self.at.step))
        return ended or bool(patience and self.at.worse >= patience)

    # -- evaluation and checkpoints -----------------------------------------------------------------------------------

    def _evaluation_due(self) -> bool:
        per_epoch = len(self.job.feed.epoch(max(self.at.epoch - (self.at.batch == 0), 0)))
        every = max(1, round(per_epoch / self.job.settings.evaluations))
        place = self.at.batch or per_epoch
        return (place % every == 0 and per_epoch - place >= every // 2) or self.at.batch == 0

    def _evaluated_now(self) -> bool:
        return self._evaluated_at == self.at.step

    _evaluated_at = -1

    def _evaluate(self) -> None:
        started = time.perf_counter()
        if self.job.method.turns(self.job.model):
            self.job.method.advance(self.job.model, self.progress())  # by where it stands alone: a resumed run measures the same way
        at, self._evaluated_at = self.at, self.at.step
        with self._averaged():
            score, figures = self.job.evaluate()
            if at.best is None or score > at.best:
                at.best, at.best_step, at.worse = score, at.step, 0
                self.best = {name: value.clone() for name, value in self.weights.state().items()}
            else:
                at.worse += 1
        (took,) = self.job.world.one(time.perf_counter() - started)
        self.clock.measured(took)
        self.job.note(
            {
                "event": "evaluation",
                "step": at.step,
                "epoch": self._epochs(),
                **figures,
                "by": self.job.task.chosen_by[0],
                "best_step": at.best_step,
                "seconds": round(took, 3),
            }
        )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The mean of the weights in the model's place, where there is one."""
        if not self.average.begun:
            yield
            return
        present = {name: value.clone() for name, value in self.weights.state().items()}
        self.weights.load(self.average.mean())
        try:
            yield
        finally:
            self.weights.load(present)

    def _save_what_is_new(self) -> None:
        """A measurement, and what follows the training, may fail: no more than seconds of work shall be lost by it."""
        if self.job.world.time() - self._saved_at > _WORTH_SAVING:
            self._save()

    def _save(self) -> None:
        self.job.save(self.checkpoint())
        self._saved_at = self.job.world.time()

    def _maybe_save(self) -> None:
        settings, stopping = self.job.settings, self.job.world.any(self.job.stop())
        minutes = (self.job.world.time() - self._saved_at) / 60
        due = self.at.step % settings.checkpoint_steps == 0 if settings.checkpoint_steps else minutes >= settings.checkpoint_minutes
        if stopping or due:
            self._save()
        if stopping and not self._done():
            raise Interrupted(f"interrupted after step {self.at.step} of {self.total}; a checkpoint was saved")

    def checkpoint(self) -> Checkpoint:
        """This moment, complete."""
        parts = {"trained": self.weights.state(), "optimizer": self.optimizer.state(), "random": random_state()}
        if self.best:
            parts["best"] = self.best
        if self.average.begun:
            parts["average"] = self.average.state()
        state = {**vars(self.at), "seconds": self.elapsed(), "evaluated_at": self._evaluated_at, "key": self.key}
        state["members"] = len(self.crew.models)
        return Checkpoint(self.at.step, parts, state, self.job.shards.rows if self.job.shards else {})

    def resume(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint of this same job; ContractRefused where it is another's or lacks a tensor."""
        other = {*self.weights.names} ^ {*saved.parts["trained"]} | {*self.optimizer.state()} - {*saved.parts["optimizer"]}
        if saved.state["key"] != self.key or other:
            same = saved.state["key"] == self.key  # another base has other tensors too, and is the reason to name
            held = f"lacks {len(other)} tensors or has others, such as {min(other)}" if same else "belongs to another recipe, base or data"
            raise ContractRefused(f"the checkpoint {held}", wanted="the run as it began", fix="put it back, or begin in another folder")
        state, parts = saved.state, saved.own(self.job.shards.rows if self.job.shards else {}, self.job.world.draws)
        self.at = Position(**{name: state.get(name, value) for name, value in vars(Position()).items()})
        self.at.best = tuple(state["best"]) if state["best"] else None
        self._before, self._evaluated_at = state["seconds"], state["evaluated_at"]
        self.weights.load(parts["trained"])
        self.optimizer.load(parts["optimizer"])
        self.best = parts.get("best", {})
        self.average.load(parts.get("average", {}))
        if parts["random"]:  # a worker that joins now begins with numbers of its own
            set_random_state(parts["random"])
