"""A model's head without its body: it asks for what the body would be given, and answers from what the body left.

A task's own `decode` is called twice: first the body's place stops it at its inputs, then the place gives back these rows' share of one
pass over the rows of many heads. So the way from a row to an answer is the task's, whatever its head.

Shape letters: B rows, T tokens, H hidden size.
"""

import inspect
import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core.numbers import to_fp32
from rootstock.core.rows import Columns
from rootstock.core.task import Batch, Labelled
from rootstock.serving.shared import Unshareable


class _Asked(Exception):
    """Thrown from where the body stands, with what it would be given."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__("the body's inputs")
        self.given = given


class _Place(nn.Module):
    """Stands where the body stood; like it in all that is asked of it but its forward pass."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.__dict__["_like"] = body  # no module of this one: its weights are the base's
        self.__dict__["_names"] = inspect.signature(body.forward)
        self.__dict__["now"] = threading.local()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_like"], name)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What the body left, once; before it has passed, its inputs as _Asked."""
        found = getattr(self.now, "found", None)
        if found is None:
            bound = self._names.bind(*arguments, **named).arguments
            given = {name: value for name, value in bound.items() if value is not None and not isinstance(value, Mapping)}
            more = [value for name, value in bound.items() if isinstance(value, Mapping)]  # what came as **kwargs
            raise _Asked({**given, **{name: value for each in more for name, value in each.items() if value is not None}})
        self.now.found = None
        return found


class Hollow:
    """A head of one model. model: with the task's head, its weights in place but for the body's. body: the shared one."""

    def __init__(self, model: nn.Module, task: Labelled, body: nn.Module) -> None:
        self.model, self.task = model, task
        self._place = next(module for module in model.modules() if isinstance(module, _Place))
        self._hooks = [
            module.register_forward_pre_hook(to_fp32) for module in model.modules() if any(True for _ in module.parameters(recurse=False))
        ]

    def asks(self, batch: Batch) -> dict[str, Any]:
        """What the body would be given of these rows."""
        self._place.now.found = None
        try:
            self.task.decode(self.model, batch)
        except _Asked as asked:
            return asked.given
        raise Unshareable("its head answers without its base")

    def answers(self, batch: Batch, found: Any) -> Columns:
        """The task's answers, where the body left this."""
        self._place.now.found = found
        try:
            return self.task.decode(self.model, batch)
        except _Asked:
            raise Unshareable("its head asks its base more than once") from None
        finally:
            self._place.now.found = None


def hollow(model: nn.Module, skeleton_body: nn.Module, body: nn.Module) -> nn.Module:
    """The model with the shared body's place wherever its own (without weights) stood."""
    if model is skeleton_body:
        return _Place(body).eval()
    place = _Place(body)
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child is skeleton_body:
                module._modules[name] = place
    return model.eval()


def fill(model: nn.Module, names: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """Give a head without memory its weights in fp32. names: its parameters as the saved tensors are called."""
    lacking = sorted(names.keys() - tensors.keys())
    if lacking:
        raise Unshareable(f"its head is not its own: {lacking[0]} is the base's")
    owners = {id(p): (module, key) for module in model.modules() for key, p in module._parameters.items() if p is not None}
    for name, parameter in names.items():
        if id(parameter) not in owners:
            raise Unshareable(f"its head has no place for {name}")
        free = int(parameter.numel() == 0)  # as many training rows as a head of neighbours was given
        if parameter.shape[free:] != tensors[name].shape[free:]:
            raise Unshareable(f"{name} is saved in another shape")
        module, key = owners[id(parameter)]
        module._parameters[key] = nn.Parameter(tensors[name].float().clone(), requires_grad=False)
    if left := [name for name, each in (*model.named_parameters(), *model.named_buffers()) if each.is_meta]:
        raise Unshareable(f"{left[0]} of its head is not among what was saved")


def share(found: Any, asked: Mapping[str, Any], start: int, stop: int) -> Any:
    """These rows of what a body left, cut to the tokens that they asked for. Views, no copies."""
    wide = asked["input_ids"].shape[1]

    def part(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            return value[start:stop, :wide] if value.dim() == 3 else value[start:stop]
        if isinstance(value, tuple) and name == "hidden_states" and asked.get("output_hidden_states"):
            return tuple(each[start:stop, :wide] for each in value)
        return None

    return type(found)(**{name: part(value, name) for name, value in found.items()})


def joined(asked: list[dict[str, Any]], padding: int) -> dict[str, Any]:
    """The inputs of several heads as one batch, padded on the right to the longest."""
    wide = max(each["input_ids"].shape[1] for each in asked)
    made: dict[str, Any] = {}
    for name in dict.fromkeys(name for each in asked for name in each):
        values = [each.get(name) for each in asked]
        if isinstance(next(value for value in values if value is not None), Tensor):
            filled = [torch.zeros_like(each["input_ids"]) if value is None else value for each, value in zip(asked, values, strict=True)]
            if any(value is None for value in values) and name != "token_type_ids":
                raise Unshareable(f"some of its rows come with {name} and some without")
            if any(value.dim() != 2 for value in filled):
                raise Unshareable(f"its base takes {name}, which is not a number a token")
            value = padding if name == "input_ids" else 0
            made[name] = torch.cat([nn.functional.pad(each, (0, wide - each.shape[1]), value=value) for each in filled])
        else:
            made[name] = any(values) if name == "output_hidden_states" else values[0]
    return made
