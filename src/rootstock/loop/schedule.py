"""The learning rate's factor over a run's progress."""

import math

import numpy as np

from rootstock.core.recipe import TrainingSettings
from rootstock.loop.job import Feed


def updates(settings: TrainingSettings, feed: Feed) -> int:
    """How many the settings ask for."""
    if settings.steps:
        return settings.steps
    epochs = settings.epochs or 1
    whole = sum(len(feed.epoch(number)) for number in range(int(epochs)))
    part = epochs - int(epochs)
    return max(1, whole + (round(part * len(feed.epoch(int(epochs)))) if part else 0))


def course(kind: str, warmup: float) -> tuple[np.ndarray, np.ndarray]:
    """Shares of a training from 0 to 1, and at each of them the share of all that the rate adds up to which is behind it."""
    shares = np.linspace(0, 1, 1001)
    rates = np.array([factor(kind, share, warmup) for share in shares.tolist()])
    behind = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2)])
    return shares, behind / behind[-1]


def factor(kind: str, progress: float, warmup: float) -> float:
    """Factor on the peak rate at a share of training done, in [0, 1]: up to 1 during warm-up, then down as `kind` says."""
    if progress < warmup:
        return progress / warmup
    rest = min((progress - warmup) / (1 - warmup), 1.0)
    return {"linear": 1 - rest, "cosine": 0.5 * (1 + math.cos(math.pi * rest)), "constant": 1.0}[kind]
