"""Answers of a model on rows: the one path for training's evaluations, `evaluate` and `predict`."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import nn

from rootstock.core.rows import Columns
from rootstock.core.task import Batch, Task


class Rows(Protocol):
    """Batches of every row once, in any order."""

    def in_order(self) -> list[np.ndarray]:
        """Row numbers of each batch."""
        ...

    def micro_batches(self, rows: np.ndarray) -> Iterable[Batch]:
        """These rows as tensors."""
        ...


def infer(
    model: nn.Module,
    rows: Rows,
    answer: Callable[[nn.Module, Batch], Columns],
    *,
    device: torch.device,
    passed: Callable[[np.ndarray], None] = lambda rows: None,
) -> Columns:
    """What `answer` gives for every row, in the order of the rows. The model is left in the mode that it was in.

    On a processor each core answers batches of its own: one product cut over the cores makes them wait for each other at every layer.
    passed: told the rows of each batch when they are done, in order; what it raises ends the work.
    """
    training, order = model.training, rows.in_order()
    model.eval()

    def answers(chosen: np.ndarray) -> list[Columns]:
        with torch.inference_mode():
            return [answer(model, to_device(batch, device)) for batch in rows.micro_batches(chosen)]

    try:
        parts = []
        for chosen, found in zip(order, _each(answers, order, device), strict=True):
            parts += found
            passed(chosen)
    finally:
        model.train(training)
    back = np.argsort(np.concatenate(order), kind="stable") if order else np.empty(0, dtype=np.int64)
    return {name: np.concatenate([part[name] for part in parts])[back] for name in (parts[0] if parts else ())}


def _each(work: Callable[[np.ndarray], list[Columns]], order: list[np.ndarray], device: torch.device) -> Iterator[list[Columns]]:
    """The work on each batch, in the order of the batches; on a processor spread over its cores."""
    cores = torch.get_num_threads()
    workers = min(cores, len(order)) if device.type == "cpu" else 1
    if workers < 2:
        yield from map(work, order)
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,))
    try:
        yield from pool.map(work, order)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


def predict(model: nn.Module, rows: Rows, task: Task, *, device: torch.device) -> Columns:
    """The task's answers for every row; "scores" is always there."""
    return infer(model, rows, task.decode, device=device)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch where the model is."""
    return batch if device.type == "cpu" else {name: value.to(device, non_blocking=True) for name, value in batch.items()}
