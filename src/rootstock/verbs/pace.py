"""How fast a model learns and answers on this machine: the loop's own updates and passes, for some seconds, on rows that are all alike."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from rootstock.core.first_token import first_alone
from rootstock.core.loaded import Loaded
from rootstock.core.recipe import TrainingSettings
from rootstock.core.rows import Columns
from rootstock.core.task import Batch
from rootstock.loop import infer
from rootstock.loop.job import Job
from rootstock.loop.precision import computing
from rootstock.loop.train import Training
from rootstock.planning.forecast import Work
from rootstock.run.exact import exact
from rootstock.verbs.plan_tried import Way, made_up, ready

_WARM = 2
"""Turns before the clock starts: the first ones make the products of these shapes."""
_RATE = 1e-6


@dataclass(frozen=True)
class _Alike:
    """An endless feed of one batch: that of a member's share of an update, or of a pass without gradients."""

    batch: Batch

    def epoch(self, number: int) -> list[np.ndarray]:
        return [np.zeros(1, dtype=np.int64)]

    def rounds(self, number: int) -> list[int]:
        return [0]

    def shards(self, rows: np.ndarray, count: int) -> list[np.ndarray]:
        return [rows] * count

    def in_order(self, beside: int) -> list[np.ndarray]:
        return [np.array([number]) for number in range(beside)]

    def passes(self, rows: np.ndarray, beside: int = 1) -> int:
        return 1

    def micro_batches(self, rows: np.ndarray, beside: int = 1, *, epoch: int = -1, round: int = 0) -> Iterator[Batch]:
        yield self.batch

    def digest(self, rows: np.ndarray) -> str:
        return ""


def batches_a_second(loaded: Loaded, way: Way, work: Work, seconds: float) -> tuple[float, float]:
    """Micro-batches a second of all members together, updates of the weights included; and batches of an evaluation on all cores."""
    model = ready(way.method.apply(loaded))
    names = exact(model, loaded, task=way.task, method=way.method, scratch=way.scratch)
    place = next(model.parameters()).device
    answered = _Alike(made_up(way.task, *work.answered))

    def answer() -> None:
        infer.infer(model, answered, _nothing(way), device=place)

    with computing(model, way.dtype, names), first_alone(model):
        passes = work.cores * _a_second(answer, seconds / 2)
    if way.method.frozen:
        return passes, passes
    with closing(Training(_job(model, way, work, names))) as training:
        return len(training.crew.models) * _a_second(lambda: training.trial(1.0), seconds / 2), passes


def _nothing(way: Way) -> Callable[[nn.Module, Batch], Columns]:
    """A forward pass whose answers are not kept."""

    def answer(model: nn.Module, batch: Batch) -> Columns:
        way.task.loss(model, batch)
        return {}

    return answer


def _job(model: nn.Module, way: Way, work: Work, names: frozenset[str]) -> Job:
    settings = TrainingSettings(epochs=1, rate=_RATE, batch_tokens=work.batch, micro_tokens=work.micro, weight_decay=0.0)
    return Job(
        model=model,
        task=way.task,
        method=way.method,
        feed=_Alike(made_up(way.task, *work.longest)),
        settings=settings,
        dtype=way.dtype,
        fresh=names,
        accelerator=Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no"),
        evaluate=lambda: ((0.0,), {}),
        note=lambda event: None,
        save=lambda moment: None,
    )


def _a_second(turn: Callable[[], object], seconds: float) -> float:
    """Turns a second."""
    done, started = 0, time.perf_counter()
    while done <= _WARM or time.perf_counter() - started < seconds:
        if done == _WARM:
            started = time.perf_counter()
        turn()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        done += 1
    return (done - _WARM) / (time.perf_counter() - started)
