"""Modules by their names: packages that come with an extra of ours, and files that hold one class each."""

from functools import cache
from importlib import import_module
from importlib.metadata import version
from inspect import isabstract
from typing import Any

from rootstock.core.errors import UsageError

_PACKAGES = {
    "markdown_it": "markdown-it-py",
    "stdnum": "python-stdnum",
    "ahocorasick": "pyahocorasick",
    "model_signing": "model-signing",
    "pip_audit": "pip-audit",
}
"""Modules whose package has another name."""
installed = cache(version)
"""The version of a package, read once: a short run would spend a thirtieth of its time on it."""


def needed(module: str, whose: str, *, extra: str = "corpus", otherwise: str = "") -> Any:
    """A module, or UsageError where it is not installed. whose: what needs it, for the message. otherwise: another way out."""
    try:
        return import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        fix = f"pip install 'rootstock[{extra}]'" + (f", or {otherwise}" if otherwise else "")
        raise UsageError(f"{whose} needs the package {_PACKAGES.get(top, top)}: {error}", wanted=f"the extra {extra}", fix=fix) from None


def only_class(module: str, base: type[Any]) -> Any:
    """The one concrete subclass of `base` that a module defines; TypeError when there is not exactly one."""
    held = vars(import_module(module)).values()
    found = [
        value
        for value in held
        if isinstance(value, type) and issubclass(value, base) and not isabstract(value) and value.__module__ == module
    ]
    if len(found) != 1:
        raise TypeError(f"{module} must define exactly one {base.__name__}; it defines {len(found)}")
    return found[0]
