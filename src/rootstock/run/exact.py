"""Which parameters keep fp32 beside products in bf16: decided once, for a run, its plan and the measuring of a machine."""

from torch import nn

from rootstock.core.loaded import Loaded
from rootstock.core.method import Method
from rootstock.core.objective import Objective
from rootstock.core.task import Labelled, Task
from rootstock.tasks.multi_task import MultiTask


def exact(model: nn.Module, loaded: Loaded, *, task: Task, method: Method, scratch: bool) -> frozenset[str]:
    """Names of a fresh head's parameters under the method: its answers are the ones that get measured. model: what the method made.

    Of a base from nothing (scratch) all is fresh, and only what lies outside its body is a head. Where the head is the vocabulary it is the
    larger part of the work, and its loss is taken in fp32 anyway.
    """
    if isinstance(task, Objective) or (isinstance(task, Labelled | MultiTask) and task.writes):
        return frozenset()
    body = f"{loaded.model.base_model_prefix}."
    fresh = {name for name in loaded.fresh if not (scratch and name.startswith(body))}
    return frozenset(name for name, _ in model.named_parameters() if method.original(name) in fresh)
