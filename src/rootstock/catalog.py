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

from rootstock.core.errors import UnknownName, UsageError
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
    return (ast.get_docstring(_tree(path)) or "").split("\n")[0]


@cache
def _tree(path: Path) -> ast.Module:
    """A file's syntax, read once."""
    return ast.parse(path.read_text("utf-8"))


def reads_labels(name: str) -> bool | None:
    """Whether a task is learned from labels, told by its class without importing it; None for a plug-in's."""
    path = _own("tasks").get(name)
    if path is None:
        return None
    classes = (node for node in _tree(path).body if isinstance(node, ast.ClassDef))
    return any(isinstance(base, ast.Name) and base.id == "Labelled" for each in classes for base in each.bases)


def find(kind: Kind, name: str) -> Any:
    """The one public class of a task or method file, or a plug-in's.

    Raises UnknownName with the nearest names, or TypeError when a file does not hold exactly one concrete subclass.
    """
    if name in _own(kind):
        home, base = _BASES[kind]
        return only_class(f"rootstock.{kind}.{name.replace('-', '_')}", getattr(import_module(home), base))
    if name in _plugins(kind):
        return _plugins(kind)[name].load()
    raise UnknownName(kind[:-1], name, [*names(kind), "auto"], fix=_within(name) if kind == "methods" else "")


def _within(name: str) -> str:
    """How to ask for a method that is a setting of another; empty where none holds it."""
    held = ((each, find("methods", each).stands_for(name)) for each in names("methods"))
    return next((f"--method {each} --set {setting}" for each, setting in held if setting), "")


def name_of(kind: Kind, cls: type) -> str:
    """The name under which a class is found. Raises UsageError for a class that no recipe could name."""
    module = cls.__module__
    if module.startswith(f"rootstock.{kind}."):
        return module.rsplit(".", 1)[1].replace("_", "-")
    found = next((name for name, point in _plugins(kind).items() if point.load() is cls), None)
    if found is None:
        raise UsageError(
            f"{cls.__name__} is no {kind[:-1]} that the catalog knows, so that no recipe could name it",
            wanted=f"a file in rootstock/{kind}/, or a package with the entry point rootstock.{kind}",
            fix="see docs/extending.md",
        )
    return found
