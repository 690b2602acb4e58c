"""What a plan is for: the task with its labels made up, and of images the size, and so the tokens, that the base reads them in."""

from typing import Any, cast

from rootstock import catalog
from rootstock.bases import blank
from rootstock.core.errors import UsageError
from rootstock.core.task import Labelled, Task
from rootstock.run import pictures

_PLANNED = ("class", "classes", "number", "tags", "span", "completion", "text")
"""Kinds of answers whose batches a plan can make up."""
_NAMES = (
    "text-classification",
    "regression",
    "token-classification",
    "question-answering",
    "image-classification",
    "text-generation",
    "text-to-text",
    "causal-lm",
)


def made_up(name: str, *, labels: int, base: str) -> Task:
    """A task with so many labels. UsageError for one whose batches a plan can't make up; BaseError where the base reads no images."""
    made = catalog.find("tasks", name)()
    kind = made.kind if isinstance(made, Labelled) else "completion" if name == "causal-lm" else None
    if kind not in _PLANNED:
        raise UsageError(
            f"a plan for {name} is not known",
            wanted=f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}",
            fix="rehearse it with data: rootstock adapt … --dry-run",
        )
    fields = type(made).model_fields
    told = {"labels": tuple(str(number) for number in range(labels))} if "labels" in fields else {}
    planned: Task = made.model_copy(update={**told, **({"several": "no"} if "several" in fields else {})})
    if not of_images(planned):
        return planned
    return pictures.as_read(planned, base, blank.config_of(base), blank.processor_of(base))


def of_images(task: Task) -> bool:
    """Whether its rows are images."""
    return isinstance(task, Labelled) and task.reads == "images"


def cost(task: Task) -> int:
    """Tokens that an image counts as, by the size that its base reads."""
    return int(cast(Any, task).cost)
