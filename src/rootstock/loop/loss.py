"""What is learned from a batch: the task's own loss, or one beside a teacher, of mixtures of rows, or both."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from rootstock.core.errors import RecipeError
from rootstock.core.recipe import TeacherSettings, TrainingSettings
from rootstock.core.task import Batch, ByToken, Loss, Scored
from rootstock.loop import mixup
from rootstock.loop.job import Learned
from rootstock.loop.teacher import beside, watched

LossOf = Callable[[nn.Module, Batch], Loss]


def loss_for(model: nn.Module, task: Learned, settings: TrainingSettings, teacher: TeacherSettings) -> LossOf:
    """The loss to take gradients of; refuses what can't be learned so before anything is spent."""
    if teacher.run is None and not settings.mixup:
        return task.loss
    if isinstance(task, ByToken) and not settings.mixup:
        return partial(task.heard, weight=teacher.weight, temperature=teacher.temperature)
    if not isinstance(task, Scored):
        key = "teacher.run" if teacher.run else "training.mixup"
        raise RecipeError(
            f"{key} is set, and the loss of this task is not of scores alone", wanted="a classifier's", fix=f"leave {key} out"
        )
    if getattr(task, "r_drop", 0):
        raise RecipeError(
            "task.r_drop asks for two answers to the same row",
            wanted="one, to be learned from a teacher or of mixtures",
            fix="leave task.r_drop, or teacher and training.mixup, out",
        )
    if settings.mixup:
        mixup.check(model, task, settings)
    return partial(_taken, task, settings.mixup, teacher)


def _taken(task: Scored, alpha: float, teacher: TeacherSettings, model: nn.Module, batch: Batch) -> Loss:
    mixture = mixup.drawn(alpha, len(batch["labels"]), batch["labels"].device) if alpha and model.training else None
    with watched(model, teacher) as seen, mixup.mixed(model, mixture) if mixture else nullcontext():
        scores = task.scores(model, mixup.widened(batch, mixture) if mixture else batch)

    def losses(wanted: Batch) -> Tensor:
        return beside(task, teacher, scores, wanted, seen()) if teacher.run else task.losses(scores, wanted)

    total_B = mixup.of_both(losses, batch, mixture) if mixture else losses(batch)
    return Loss(total_B.sum(), int(torch.as_tensor(task.items(batch)).sum()))
