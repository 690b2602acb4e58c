"""Formats and folder checks by file name: formats/pickle.py reads pickles. Adding one is adding a file."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent


@cache
def formats() -> tuple[Any, ...]:
    """Modules of formats/: `recognises(probe) -> bool` and `scan(source, context) -> Iterator[Finding]`."""
    return _modules("formats")


@cache
def folder_checks() -> tuple[Any, ...]:
    """Modules of folders/: `scan(tree, context) -> Iterator[Finding]`."""
    return _modules("folders")


def _modules(kind: str) -> tuple[Any, ...]:
    names = sorted(path.stem for path in (_ROOT / kind).glob("[a-z]*.py"))
    return tuple(import_module(f"rootstock.sentinel.{kind}.{name}") for name in names)
