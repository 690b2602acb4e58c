"""The content of metrics.json where nothing is labelled: loss on held-out documents with intervals, beside what needs no model.

Shape letters: N rows, V vocabulary.
"""

from typing import Any

import numpy as np

from rootstock.core.objective import Objective
from rootstock.core.rows import Columns
from rootstock.evaluation.intervals import bootstrap


def score(columns: Columns, task: Objective, *, seed: int, unigram: float | None = None) -> dict[str, Any]:
    """All that is known about these results, as JSON. unigram: nats a token of guessing by frequency alone."""
    figures = task.metrics(columns)
    names = [name for name in (*task.headline, "perplexity", "bits_per_byte") if name in figures]
    intervals = bootstrap(columns, task.metrics, names=names, seed=seed)
    baselines = {} if unigram is None else {"unigram": {"loss": unigram}}
    rows = len(columns["loss"])
    return {
        "rows": rows,
        "metrics": figures,
        "intervals": {name: list(found) for name, found in intervals.items()},
        "baselines": baselines,
        "beats": {"unigram": intervals["loss"][1] < unigram} if unigram is not None and "loss" in intervals else {},
        "verdict": _verdict(figures, intervals.get("loss"), rows=rows, unigram=unigram),
    }


def unigram(train_N: np.ndarray, held_N: np.ndarray, size: int) -> float:
    """Nats a token of the held-out ids where each is guessed by its frequency in training, one added to every count."""
    counts_V = np.bincount(train_N, minlength=size).astype(np.float64) + 1
    return float(-np.log(counts_V / counts_V.sum())[held_N].mean())


def _verdict(figures: dict[str, float], between: tuple[float, float] | None, *, rows: int, unigram: float | None) -> str:
    if between is None:
        return "the loss is not defined here: nothing was guessed"
    reached = f"loss {figures['loss']:.3f} [{between[0]:.3f}, {between[1]:.3f}] on {rows:,} held-out rows"
    if unigram is None:
        return reached
    against = f"guessing by frequency alone ({unigram:.3f})"
    if between[1] < unigram:
        return f"{reached} beats {against}"
    return f"{reached} does not beat {against}" if between[0] > unigram else f"{reached} is not separable from {against}"
