"""One step of a plan, tried on the meta device: the model as the loop would have it, and made-up rows of the largest batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rootstock import catalog
from rootstock.bases import blank
from rootstock.bases.resolve import SCRATCH
from rootstock.core.errors import RecipeError
from rootstock.core.loaded import configs
from rootstock.core.method import Method
from rootstock.core.rows import PIXELS
from rootstock.core.task import Batch, Task
from rootstock.data.batches import Feed
from rootstock.loop.precision import Weights
from rootstock.loop.trim import trim
from rootstock.planning import forecast, memory, rehearse
from rootstock.run.choices import check_scratch
from rootstock.run.exact import exact
from rootstock.run.prepared import LabelledRows
from rootstock.tasks._pictures import Seen


@dataclass(frozen=True, kw_only=True)
class Way:
    """What is learned and how. base: a reference. precision: "fp32" or "bf16". used: token ids that occur; None: not known, so all."""

    base: str
    task: Task
    method: Method
    precision: str
    used: np.ndarray | None = None

    @property
    def scratch(self) -> bool:
        """Whether the base's weights are random."""
        return self.base.startswith(SCRATCH)

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


class Found(NamedTuple):
    """Parameters under the method, a step of the largest micro-batch, one without gradients on the largest batch of an evaluation, and
    the products that have code of their own.
    """

    counts: memory.Counted
    step: rehearse.Step
    answer: rehearse.Step
    products: memory.Products


def tried(way: Way, work: forecast.Work, *, blocks: int | None = None) -> Found:
    """Count and try. blocks: how many of the base's, None: all. RecipeError where the method does not fit this base."""
    method = way.method
    check_scratch(catalog.name_of("methods", type(method)), method, scratch=way.base if way.scratch else None)
    loaded = blank.blank(way.base, way.task.head(), blocks=blocks)
    if isinstance(way.task, Seen):
        way.task.check(loaded.model)  # others pass a text through it, and here are no values
    before = {name: p.numel() for name, p in loaded.model.named_parameters()}
    if method.packed is None:  # one that packs asks for a GPU here, and a plan may be for another machine
        method.check(loaded.head, blank.config_of(way.base))
    with torch.device("meta"):
        with fits(way.base):
            model = method.apply(loaded)
        names = exact(model, loaded, task=way.task, method=method, scratch=way.scratch)
        fresh = sum(p.numel() for name, p in model.named_parameters() if name in names)
        counts = _trimmed(memory.counted(model, fresh, before, method), model, way.used)
        Weights(ready(model), way.dtype, names)
        products = memory.products(model, learns=not method.frozen)
        step = rehearse.step(model, loss(way, model, made_up(way.task, *work.longest), learns=not method.frozen))
        answer = rehearse.step(model.eval(), loss(way, model, made_up(way.task, *work.answered), learns=False))
        return Found(counts, step.again if work.accumulates and not method.frozen else step, answer, products)


def _trimmed(counts: memory.Counted, model: nn.Module, used: np.ndarray | None) -> memory.Counted:
    """With the embeddings of tokens that do not occur left out of what learns, as the loop does."""
    sizes = [sum(p.numel() for p in model.parameters() if p.requires_grad)]
    if used is None or not trim(model, used):
        return counts
    sizes.append(sum(p.numel() for p in model.parameters() if p.requires_grad))
    table = model.get_input_embeddings()  # type: ignore[operator]
    return replace(counts, idle=sizes[0] - sizes[1], kept=table.weight.numel())


@contextmanager
def fits(base: str) -> Iterator[None]:
    """RecipeError where a method finds no place in a base, or asks for values, which there are none of."""
    try:
        yield
    except (ValueError, NotImplementedError, RuntimeError) as error:
        found = f"the method can't be planned on {base}: {str(error).strip().splitlines()[0]}"
        fix = "choose another --method, or rehearse it with data: rootstock adapt … --dry-run"
        raise RecipeError(found, wanted="a method that fits the base", fix=fix) from error


def ready(model: nn.Module) -> nn.Module:
    """The model as the loop would have it but for the numbers of its products."""
    for part in configs(getattr(model, "config", None)):
        if getattr(part, "pad_token_id", 0) is None:
            part.pad_token_id = 0
    return model.train()


def made_up(task: Task, rows: int, length: int) -> Batch:
    """Rows of padding, or black images, on whatever device is the default."""
    if isinstance(task, Seen):
        return {"pixel_values": torch.zeros((rows, 3, task.size or 0, task.size or 0)), "labels": torch.zeros(rows, dtype=torch.long)}
    ids_BT = torch.zeros((rows, length), dtype=torch.long)
    kind = getattr(task, "kind", "completion")
    of_kind = {"class": ids_BT[:, 0], "classes": ids_BT[:, :1].float(), "number": ids_BT[:, 0].float()}
    spans = {"begins": ids_BT, "ends": ids_BT, "null": ids_BT[:, 0], "labels": ids_BT[:, :2]} if kind == "span" else {}
    return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT), "labels": of_kind.get(kind, ids_BT), **spans}


def loss(way: Way, model: nn.Module, batch: Batch, *, learns: bool) -> Callable[[], Tensor]:
    """The loss of a batch, each time it is called."""

    def once() -> Tensor:
        with torch.set_grad_enabled(learns):
            return way.task.loss(model, batch).total

    return once


def seen(prepared: LabelledRows, feed: Feed, work: forecast.Work, *, frozen: bool) -> forecast.Work:
    """The work with all that the rows tell of it. feed: of the training rows, under this work's settings."""
    answering = replace(feed, encoded=prepared.encoded_validation)
    evaluated = frozenset(answering.answered(work.cores))
    if frozen:  # a pass over all rows, then vectors alone
        evaluated |= feed.answered(work.cores)
        learned = evaluated
    else:
        learned = frozenset(feed.shapes(work.updates, work.members))
    arrays = [each for side in (prepared.encoded, prepared.encoded_validation) for each in side.arrays().items()]
    held = [each for name, each in arrays if name != f"dense/{PIXELS}"]  # these are the table's own
    found = forecast.Seen(
        tokens=sum(map(feed.padded, feed.epoch(0))),
        updates=len(feed.epoch(0)),
        longest=max(learned | feed.parts(feed.longest(), work.members), key=_cells),
        answered=max(evaluated, key=_cells),
        validation=sum(lines * tokens for lines, tokens in map(answering.shape, answering.in_order(work.cores))),
        bytes=sum(each.nbytes for each in held) + prepared.learned.nbytes + prepared.validation.nbytes,
        learned=frozenset() if frozen else learned,
        evaluated=evaluated,
    )
    return replace(work, seen=found)


def _cells(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1]
