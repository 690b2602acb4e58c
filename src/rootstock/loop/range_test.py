"""The learning-rate range test: a rate that rises from step to step, and the loss at each (Smith 2015, https://arxiv.org/abs/1506.01186).

It is made on training batches and leaves no trace: weights, buffers and generators are put back bit for bit.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from rootstock.core.errors import Diverged, Interrupted, RunFailed
from rootstock.loop.checkpoint import random_state, set_random_state
from rootstock.loop.job import Job
from rootstock.loop.train import Training
from rootstock.loop.trim import untrim

STEPS = 100
"""Updates of a sweep: twenty for each factor of ten."""
LOWEST, HIGHEST = 1e-3, 1e2
"""Ends of the sweep beside the rate that the method usually takes."""
_FEWEST = 30
_BETA = 0.9
"""Of the smoothing: about the last ten steps count."""
_BROKEN = 4.0
"""Times the lowest loss, from which on nothing more is to be seen."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A suggested rate, and what it rests on. losses: smoothed. steepest: where the loss falls fastest; lowest: where it is lowest."""

    rate: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    steepest: float
    lowest: float
    reason: str

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"rates": list(self.rates), "losses": list(self.losses)}


def find(job: Job, usual: float, *, seconds: float | None = None) -> Found:
    """Sweep from a thousandth of the usual rate to a hundred times it. seconds: at most; fewer steps are made where they would take more.

    Diverged where no rate lowers the loss, RunFailed where the time has room for too few steps; Interrupted where asked to stop.
    """
    rates, losses = _swept(replace(job, settings=job.settings.model_copy(update={"rate": usual})), usual, seconds)
    return suggested(rates, losses)


def suggested(rates: Sequence[float], losses: Sequence[float]) -> Found:
    """The smaller of the rate at which the smoothed loss falls fastest and a tenth of that at which it is lowest."""
    smooth = smoothed(losses)
    first = len(smooth) // 10  # the mean of a few batches only says how hard these were
    bottom = first + int(np.argmin(smooth[first:]))
    falls = np.gradient(smooth[first : bottom + 1]) if bottom > first else np.zeros(1)  # rates are a constant factor apart
    if falls.min() >= 0:
        raise Diverged("no rate lowers the loss in the range test", wanted="a loss that falls", fix="give the rate: --rate 3e-4")
    steepest, lowest = float(rates[first + int(np.argmin(falls))]), float(rates[bottom])
    rate = float(f"{min(steepest, lowest / 10):.2g}")
    reason = f"{rate:g} by a range test of {len(smooth)} steps: the loss falls fastest at {steepest:.2g} and is lowest at {lowest:.2g}"
    return Found(
        rate=rate, rates=tuple(rates[: len(smooth)]), losses=tuple(smooth.tolist()), steepest=steepest, lowest=lowest, reason=reason
    )


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """A running mean that is not pulled towards zero at its start, up to where the loss has broken."""
    held, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        held = _BETA * held + (1 - _BETA) * loss
        found.append(held / (1 - _BETA**count))
        if count > 1 and found[-1] > _BROKEN * max(min(found), 1e-12):
            break
    return np.array(found)


def _swept(job: Job, usual: float, seconds: float | None) -> tuple[list[float], list[float]]:
    """Rates, and the loss before each step at one."""
    learn = {name: parameter.requires_grad for name, parameter in job.model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in job.model.named_buffers()}
    random, training = random_state(), Training(job)
    start = {name: value.clone() for name, value in training.weights.state().items()}
    try:
        return _losses(training, usual, seconds)
    finally:
        training.close()
        training.weights.load(start)
        training.weights.restore()
        untrim(job.model)
        for name, parameter in job.model.named_parameters():
            parameter.requires_grad_(learn[name])
            parameter.grad = None
        with torch.no_grad():
            for name, buffer in job.model.named_buffers():
                buffer.copy_(buffers[name])
        set_random_state(random)


def _losses(training: Training, usual: float, seconds: float | None) -> tuple[list[float], list[float]]:
    rates: list[float] = []
    losses: list[float] = []
    started, steps, lowest = time.perf_counter(), STEPS, float("inf")
    while len(rates) < steps:
        factor = LOWEST * (HIGHEST / LOWEST) ** (len(rates) / (steps - 1))
        try:
            loss = training.trial(factor)
        except Diverged:
            break
        if loss is not None:
            rates.append(usual * factor)
            losses.append(loss)
            lowest = min(lowest, loss)
        if loss is not None and len(rates) == 1 and seconds is not None:
            steps = min(STEPS, int(seconds / max(time.perf_counter() - started, 1e-9)))
            if steps < _FEWEST:
                raise RunFailed(
                    f"the time leaves {steps} steps for a range test", wanted=f"{_FEWEST} at least", fix="give more --minutes, or --rate"
                )
        if training.job.stop():
            raise Interrupted("interrupted in the range test: nothing was learned yet")
        if loss is not None and loss > 2 * _BROKEN * max(lowest, 1e-12) and len(rates) > _FEWEST:
            break
    return rates, losses
