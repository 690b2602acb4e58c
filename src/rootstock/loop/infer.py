"""Answers of a model on rows: the one path for training's evaluations, `evaluate` and `predict`."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import nn

from rootstock.core.first_token import first_alone
from rootstock.core.linear import fused
from rootstock.core.mode import in_mode
from rootstock.core.objective import Contrastive, in_groups
from rootstock.core.products import by_products
from rootstock.core.rows import Columns
from rootstock.core.task import Batch, Labelled, Uniform
from rootstock.loop.crew import Crew
from rootstock.loop.world import World


class Rows(Protocol):
    """Batches of every row once, in any order."""

    def in_order(self, beside: int) -> list[np.ndarray]:
        """Row numbers of each batch; `beside` of them fit in memory at once."""
        ...

    def micro_batches(self, rows: np.ndarray, beside: int) -> Iterable[Batch]:
        """These rows as tensors."""
        ...


def infer(
    model: nn.Module,
    rows: Rows,
    answer: Callable[[nn.Module, Batch], Columns],
    *,
    device: torch.device,
    passed: Callable[[np.ndarray], None] = lambda rows: None,
    world: World | None = None,
) -> Columns:
    """What `answer` gives for every row, in the order of the rows. The model is left in the mode that it was in.

    On a processor each core answers batches of its own, with a twin of the model.
    passed: told the rows of each batch when they are done, in order; what it raises ends the work.
    world: workers that call this together. Each answers its turns of the batches and gets the answers of all; where each holds only a
    shard of the model, all answer every batch, as none could without the others.
    """
    world = world or World()
    cores = torch.get_num_threads() if device.type == "cpu" and not world.sharded else 1
    order = rows.in_order(cores)
    mine = order if world.sharded else world.share(order)

    def answers(member: nn.Module, chosen: np.ndarray) -> list[Columns]:
        with torch.no_grad() if world.sharded else torch.inference_mode():
            return [answer(member, to_device(batch, device)) for batch in rows.micro_batches(chosen, cores)]

    parts = []
    with (
        in_mode(model, training=False),
        nullcontext() if world.sharded else fused(model),
        by_products(model, wanted=device.type == "cpu" and not world.sharded),
        Crew(model, max(1, min(cores, len(mine)))) as crew,
    ):
        for chosen, found in zip(mine, crew.each(answers, mine), strict=True):
            parts += found
            passed(chosen)
    made = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    if world.size > 1 and not world.sharded:
        made, order = world.gathered(made), [batch for rank in range(world.size) for batch in order[rank :: world.size]]
    back = np.argsort(np.concatenate(order), kind="stable") if order else np.empty(0, dtype=np.int64)
    return {name: values[back] for name, values in made.items()}


def predict(
    model: nn.Module, rows: Rows, task: Uniform, *, device: torch.device, glance: bool = False, world: World | None = None
) -> Columns:
    """What the task's metrics are made of, for every row: the same however the rows were cut into batches.

    glance: only as much of it as decides which state is the best.
    """
    answer = task.glance if glance and isinstance(task, Labelled) else task.decode
    with first_alone(model, wanted=not (world and world.sharded)):
        found = infer(model, rows, answer, device=device, world=world)
    return in_groups(task, model, found["vectors"]) if found and isinstance(task, Contrastive) else found


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch where the model is."""
    return batch if device.type == "cpu" else {name: value.to(device, non_blocking=True) for name, value in batch.items()}
