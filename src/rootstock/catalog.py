"""Finds tasks and methods by file name: tasks/text_classification.py is `text-classification`.

Nothing is imported until it is asked for by name, so listing is instant and adding one means adding one file.
Other packages add theirs through the entry-point groups rootstock.tasks and rootstock.methods.
"""

import ast
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from rootstock.core.errors import UnknownName
from rootstock.core.modules import only_class

Kind = Literal["tasks", "methods"]
_ROOT = Path(__file__).parent
_BASES = {"tasks": ("rootstock.core.task", "Task"), "methods": ("rootstock.core.method", "Method")}


@cache
def _plugins(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"rootstock.{kind}")}


def _own(kind: Kind) -> dict[str, Path]:
    return {p.stem.replace("_", "-"): p for p in sorted((_ROOT / kind).glob("[a-z]*.py"))}


def names(kind: Kind) -> list[str]:
    """Every name of a kind, in order."""
    return sorted({*_own(kind), *_plugins(kind)})


def summary(kind: Kind, name: str) -> str:
    """First line of the file's docstring, read without importing it."""
    path = _own(kind).get(name)
    if path is None:
        return f"from {_plugins(kind)[name].value}"
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]


def find(kind: Kind, name: str) -> Any:
    """The one public class of a task or method file, or a plug-in's.

    Raises UnknownName with the nearest names, or TypeError when a file does not hold exactly one concrete subclass.
    """
    if name in _own(kind):
        home, base = _BASES[kind]
        return only_class(f"rootstock.{kind}.{name.replace('-', '_')}", getattr(import_module(home), base))
    if name in _plugins(kind):
        return _plugins(kind)[name].load()
    raise UnknownName(kind[:-1], name, [*names(kind), "auto"])


def name_of(kind: Kind, cls: type) -> str:
    """The name under which a class is found."""
    module = cls.__module__
    if module.startswith(f"rootstock.{kind}."):
        return module.rsplit(".", 1)[1].replace("_", "-")
    return next(name for name, point in _plugins(kind).items() if point.load() is cls)
