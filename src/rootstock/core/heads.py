"""One body under several heads: what tasks that share an encoder train together."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from torch import nn

from rootstock.core.errors import BaseError

_KEY = "on_"
"""Before a part's name among the modules: a part may be called as a method of nn.ModuleDict is."""


class Heads(nn.Module):
    """Models of one body, by name. The body stands once under `body`; each model reads it as its own, and holds only its head.

    What one model's body has and another's has not (a pooler) is taken into it. Raises BaseError where the bodies are of different classes.
    """

    base_model_prefix = "body"
    body: Any

    def __init__(self, models: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = tuple(models)
        self.body, self.parts = nn.Module(), nn.ModuleDict()
        self._has: dict[str, tuple[str, ...]] = {}
        for name, model in models.items():
            own = model._modules.pop(model.base_model_prefix, None)
            if own is None or (self._has and type(own) is not type(self.body)):
                raise BaseError(
                    f"for {name} this base is a {type(own or model).__name__}, for {self.names[0]} a {type(self.body).__name__}",
                    wanted="one body that all parts share",
                    fix="choose an encoder such as minilm, or parts of like tasks",
                )
            self.body = self.body if self._has else own
            self._has[name] = tuple(own._modules)
            for child in own._modules.keys() - self.body._modules.keys():
                self.body.__dict__.pop(child, None)  # there it was None
                self.body._modules[child] = own._modules[child]
            model.__dict__[model.base_model_prefix] = self.body  # found as before, and no module of the model's own
            self.parts[_KEY + name] = model
        self.config = self.parts[_KEY + self.names[0]].config

    def forward(self, part: str, **given: Any) -> Any:
        """What the model of a part answers."""
        return self.parts[_KEY + part](**given)

    def get_input_embeddings(self) -> nn.Module:
        """The body's."""
        table: nn.Module = self.body.get_input_embeddings()
        return table

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Another table in the body."""
        self.body.set_input_embeddings(table)

    def part(self, name: str) -> Any:
        """The model of a part, which reads the body but does not hold it."""
        return self.parts[_KEY + name]

    def shared(self) -> set[str]:
        """Names, within the body, of the weights that every part has."""
        own = {child for child in self.body._modules if any(child not in each for each in self._has.values())}
        return {name for name in self.body.state_dict() if name.split(".", 1)[0] not in own}

    def named(self, name: str, key: str) -> str | None:
        """The name that a weight called `key` here has in the model of a part alone; None for a weight of another part."""
        prefix = self.part(name).base_model_prefix
        if not re.search(rf"(^|\.)parts\.{_KEY}", key):
            return re.sub(r"(^|\.)body\.", rf"\1{prefix}.", key, count=1)
        found, count = re.subn(rf"(^|\.)parts\.{_KEY}{re.escape(name)}\.", r"\1", key, count=1)
        return found if count else None

    def alone(self, name: str) -> Any:
        """The model of a part as it would stand alone: of its class, with the body among its modules, all of them these very ones."""
        part, body = copy.copy(self.part(name)), copy.copy(self.body)
        lacking = [child for child in body._modules if child not in self._has[name]]
        body._modules = {child: module for child, module in body._modules.items() if child not in lacking}
        body.__dict__.update(dict.fromkeys(lacking))
        prefix = part.base_model_prefix
        del part.__dict__[prefix]
        part._modules = {prefix: body, **part._modules}
        return part

    @classmethod
    def within(cls, model: nn.Module) -> Self | None:
        """The heads inside a model that a method may have wrapped; None where a task has one."""
        return next((module for module in model.modules() if isinstance(module, cls)), None)


def drawn_anew(model: Any) -> nn.Module:
    """Random weights in a model of the same class and config, or in models of the same classes and configs over one body."""
    if isinstance(model, Heads):
        return Heads({name: drawn_anew(model.part(name)) for name in model.names})
    made: nn.Module = type(model)(copy.deepcopy(model.config))
    return made


def head_of(name: str) -> str | None:
    """The module of a part's head that holds a weight of this name: parts.on_NAME.MODULE; None for names of other models."""
    parts = name.split(".")
    return ".".join(parts[:3]) if parts[0] == "parts" and parts[1].startswith(_KEY) else None


def states(model: nn.Module, name: str) -> Iterator[tuple[str, Any]]:
    """What the model of a part would hold alone, under the names that it has there; of a model without parts, all."""
    heads = Heads.within(model)
    for key, value in model.state_dict().items():
        found = key if heads is None else heads.named(name, key)
        if found is not None:
            yield found, value
