"""Answers of a model on rows: the one path for training's evaluations, `evaluate` and `predict`."""

from collections.abc import Callable, Iterable
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


@torch.inference_mode()
def infer(model: nn.Module, rows: Rows, answer: Callable[[nn.Module, Batch], Columns], *, device: torch.device) -> Columns:
    """What `answer` gives for every row, in the order of the rows. The model is left in the mode that it was in."""
    training = model.training
    model.eval()
    order, parts = [], []
    for chosen in rows.in_order():
        for batch in rows.micro_batches(chosen):
            parts.append(answer(model, to_device(batch, device)))
        order.append(chosen)
    model.train(training)
    back = np.argsort(np.concatenate(order), kind="stable") if order else np.empty(0, dtype=np.int64)
    return {name: np.concatenate([part[name] for part in parts])[back] for name in (parts[0] if parts else ())}


def predict(model: nn.Module, rows: Rows, task: Task, *, device: torch.device) -> Columns:
    """The task's answers for every row; "scores" is always there."""
    return infer(model, rows, task.decode, device=device)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch where the model is."""
    return batch if device.type == "cpu" else {name: value.to(device, non_blocking=True) for name, value in batch.items()}
