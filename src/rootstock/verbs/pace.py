"""How fast a model learns on this machine: real updates, as the loop makes them, for some seconds."""

import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from rootstock.core.loaded import Loaded
from rootstock.core.method import Method
from rootstock.core.task import Batch, Task
from rootstock.loop.attention import by_products
from rootstock.loop.crew import Crew
from rootstock.loop.optimizer import Optimizer, decayed_names
from rootstock.loop.precision import Weights

_WARM = 2
"""Updates before the clock starts: the first ones make the products of these shapes."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How it learns. members: models that share an update. precision: "fp32" or "bf16"."""

    task: Task
    method: Method
    members: int
    precision: str


def batches_a_second(loaded: Loaded, batch: Batch, way: Way, seconds: float) -> float:
    """Micro-batches a second of all members together, updates of the weights included."""
    task, method, members = way.task, way.method, way.members
    device = next(loaded.model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    model = method.apply(loaded).train()
    decays, dtype = decayed_names(model), torch.bfloat16 if way.precision == "bf16" else torch.float32
    weights = Weights(model, dtype, loaded.fresh if dtype == torch.bfloat16 else ())
    optimizer = Optimizer(weights.masters, method.groups(model, 1e-6), decays=decays, decay=0.0)
    with by_products(model, wanted=dtype == torch.bfloat16 and device.type == "cpu"), Crew(model, members) as crew:
        held = [dict(each.named_parameters()) for each in crew.models]
        done, started = 0, time.perf_counter()
        while done <= _WARM or time.perf_counter() - started < seconds:
            if done == _WARM:
                started = time.perf_counter()
            crew.gradients(partial(_pass, task, learns=not method.frozen), [batch] * members)
            if not method.frozen:
                weights.pull(weights.names, held)
                scale, _ = optimizer.scale(optimizer.norms(weights.names), members, 1.0)
                optimizer.update(weights.names, scale)
                weights.push()
            if device.type == "cuda":
                torch.cuda.synchronize()
            done += 1
        return (done - _WARM) * members / (time.perf_counter() - started)


def _pass(task: Task, model: nn.Module, batch: Batch, *, learns: bool) -> None:
    with torch.set_grad_enabled(learns):
        total = task.loss(model, batch).total
    if learns:
        total.backward()  # type: ignore[no-untyped-call]
