"""The content of metrics.json where nothing is labelled: loss on held-out documents with intervals, beside what needs no model.

Rows that are pieces of one document are alike, so whole documents are resampled, long ones by the parts that they are held out by: an
interval from rows alone would be too narrow. Pairs and images are resampled as the rows that they are.

Shape letters: N rows, D documents, R resamples, F figures, V vocabulary.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from rootstock.core.objective import Objective
from rootstock.core.rows import Columns
from rootstock.evaluation.intervals import Metrics, interval, limits

_RESAMPLES = 1000


def score(
    columns: Columns, task: Objective, *, seed: int, document_N: np.ndarray | None = None, unigram: Columns | None = None
) -> dict[str, Any]:
    """All that is known about these results, as JSON. document_N: the number of each row's document; None where each row is one.

    unigram: what guessing by frequency alone loses of each row, as `guessed` gives it.
    """
    figures = task.metrics(columns)
    names = [name for name in (*task.headline, "perplexity", "bits_per_byte") if name in figures]
    intervals = between(columns, task, names=[*dict.fromkeys((*names, *figures))], seed=seed, document_N=document_N)
    rival = None if unigram is None else _mean_loss(unigram, ())["loss"]
    beside = {} if unigram is None else _between(unigram, _mean_loss, names=["loss"], seed=seed, document_N=document_N)
    rows = len(columns["loss"])
    documents = rows if document_N is None else len(np.unique(document_N))
    return {
        "rows": rows,
        "documents": documents,
        "headline": names,
        "metrics": figures,
        "intervals": {name: list(found) for name, found in intervals.items()},
        "baselines": {} if rival is None else {"unigram": {"loss": rival}},
        "baseline_intervals": {} if rival is None else {"unigram": {name: list(found) for name, found in beside.items()}},
        "beats": {"unigram": intervals["loss"][1] < rival} if rival is not None and "loss" in intervals else {},
        "verdict": _verdict(figures, intervals.get("loss"), of=_counted(rows, document_N, documents), unigram=rival),
    }


def between(
    columns: Columns, task: Objective, *, names: Sequence[str], seed: int, document_N: np.ndarray | None = None
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the named figures over resampled documents; none where there is one document only.

    document_N: the number of each row's document; None where each row is one.
    """
    return _between(columns, task.metrics, names=names, seed=seed, document_N=document_N)


def _between(
    columns: Columns, metrics: Metrics, *, names: Sequence[str], seed: int, document_N: np.ndarray | None
) -> dict[str, tuple[float, float]]:
    own_N = np.arange(len(columns["loss"])) if document_N is None else np.unique(document_N, return_inverse=True)[1]
    documents = int(own_N.max(initial=-1)) + 1
    if documents < 2:
        return {}
    rng, found_RF = np.random.default_rng(seed), np.full((_RESAMPLES, len(names)), np.nan)
    for found_F in found_RF:
        times_D = np.bincount(rng.integers(0, documents, documents), minlength=documents)
        chosen_M = np.repeat(np.arange(len(own_N)), times_D[own_N])
        figures = metrics({name: values[chosen_M] for name, values in columns.items()}, names)
        found_F[:] = [figures.get(name, np.nan) for name in names]
    whole = metrics(columns, names)
    drawn = {name: found_R for name, found_R in zip(names, found_RF.T, strict=True) if name in whole}
    intervals = {name: interval(found_R, whole[name], documents, within=limits(name)) for name, found_R in drawn.items()}
    return {name: found for name, found in intervals.items() if found is not None}


def _counted(rows: int, document_N: np.ndarray | None, documents: int) -> str:
    held = f"{rows:,} held-out rows"
    return held if document_N is None else f"{held} of {documents:,} text{'s' if documents > 1 else ''}"


def guessed(train_N: np.ndarray, held_N: np.ndarray, row_N: np.ndarray, *, size: int, rows: int) -> Columns:
    """Loss in nats and tokens of each held-out row where each id is guessed by its frequency in training, one added to every count.

    row_N: of which row each held-out id is.
    """
    counts_V = np.bincount(train_N, minlength=size).astype(np.float64) + 1
    losses_N = -np.log(counts_V / counts_V.sum())[held_N]
    return {"loss": np.bincount(row_N, losses_N, rows), "count": np.bincount(row_N, minlength=rows)}


def _mean_loss(columns: Columns, names: Collection[str] | None) -> dict[str, float]:
    count = float(columns["count"].sum())
    return {"loss": float(columns["loss"].sum()) / count} if count else {}


def _verdict(figures: dict[str, float], within: tuple[float, float] | None, *, of: str, unigram: float | None) -> str:
    if "loss" not in figures:
        return "the loss is not defined here: nothing was guessed"
    if within is None:
        return f"loss {figures['loss']:.3f} on {of}: one alone gives no interval"
    reached = f"loss {figures['loss']:.3f} [{within[0]:.3f}, {within[1]:.3f}] on {of}"
    if unigram is None:
        return reached
    against = f"guessing by frequency alone ({unigram:.3f})"
    if within[1] < unigram:
        return f"{reached} beats {against}"
    return f"{reached} does not beat {against}" if within[0] > unigram else f"{reached} is not separable from {against}"
