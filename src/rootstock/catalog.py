"""Finds tasks and methods by file name: tasks/text_classification.py is `text-classification`.

Nothing is imported until it is asked for by name, so listing is instant and adding one means adding one file.
Other packages add theirs through the entry-point groups rootstock.tasks and rootstock.methods.
"""

import re
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from rootstock.core.errors import UnknownName, UsageError
from rootstock.core.modules import only_class

Kind = Literal["tasks", "methods", "augment"]
_ROOT = Path(__file__).parent
_SUMMARY, _LABELLED = (
    re.compile(r'"""(.*?)(?:"""|$)', re.MULTILINE),
    re.compile(r"^class \w+\((?:\w+, )*(?:Labelled|Scored|ByToken|OneOf|Task)\):", re.MULTILINE),
)
_BASES = {
    "tasks": ("rootstock.core.task", "Task"),
    "methods": ("rootstock.core.method", "Method"),
    "augment": ("rootstock.core.augment", "Augmentation"),
}
_PLACES = {"tasks": "tasks", "methods": "methods", "augment": "data/augment"}
_CALLED = {"tasks": "task", "methods": "method", "augment": "augmentation"}


@cache
def _plugins(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"rootstock.{kind}")}


@cache
def _own(kind: Kind) -> dict[str, Path]:
    return {p.stem.replace("_", "-"): p for p in sorted((_ROOT / _PLACES[kind]).glob("[a-z]*.py"))}


def names(kind: Kind) -> list[str]:
    """Every name of a kind, in order."""
    return sorted({*_own(kind), *_plugins(kind)})


def summary(kind: Kind, name: str) -> str:
    """First line of the file's docstring, read without importing it."""
    path = _own(kind).get(name)
    if path is None:
        return f"from {_plugins(kind)[name].value}"
    found = _SUMMARY.match(_source(path))
    return found[1] if found else ""


@cache
def _source(path: Path) -> str:
    """A file, read once. To parse two dozen of them would take longer than all else of a listing."""
    return path.read_text("utf-8")


def reads_labels(name: str) -> bool | None:
    """Whether a task is learned from labels, told by its class without importing it; None for a plug-in's."""
    path = _own("tasks").get(name)
    if path is None:
        return None
    return _LABELLED.search(_source(path)) is not None


def find(kind: Kind, name: str) -> Any:
    """The one public class of a task or method file, or a plug-in's.

    Raises UnknownName with the nearest names, or TypeError when a file does not hold exactly one concrete subclass.
    """
    if name in _own(kind):
        home, base = _BASES[kind]
        place = _PLACES[kind].replace("/", ".")
        return only_class(f"rootstock.{place}.{name.replace('-', '_')}", getattr(import_module(home), base))
    if name in _plugins(kind):
        return _plugins(kind)[name].load()
    others = [*names(kind), *(["auto"] if kind != "augment" else [])]
    raise UnknownName(_CALLED[kind], name, others, fix=_within(name) if kind == "methods" else "")


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
            f"{cls.__name__} is no {_CALLED[kind]} that the catalog knows, so that no recipe could name it",
            wanted=f"a file in rootstock/{kind}/, or a package with the entry point rootstock.{kind}",
            fix="see docs/extending.md",
        )
    return found
