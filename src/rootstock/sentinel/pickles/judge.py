"""What an imported name is: known to rebuild data, known to run code, or unknown. A list of what is allowed, not of what is forbidden.

The lists are the files of known/: `module: names`, one file a package, in the sections [data] (rebuilds tensors, arrays and plain
values) and [objects] (estimators, modules and settings: data only, and named in a note). executes.txt only tells "malicious" from
"unknown": either is refused.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parents[1] / "known"
FILES = {"numpy": "numpy", "torch": "torch", "sklearn": "sklearn", "scipy": "scipy", "pandas": "pandas"}
"""Package to file; Python's own names are in python.txt, all other packages in others.txt."""

SCRIPT = "__torch__"
"""TorchScript's name space: its classes are read from the code in the archive, which is checked by itself, and not imported."""

_MODEL = re.compile(
    r"transformers\.models\.\w+\.(?:modeling|configuration|tokenization|image_processing|feature_extraction|processing)_\w+"
    r"|transformers\.(?:activations|tokenization_utils_(?:fast|tokenizers))"
)
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
"""Modules and settings of transformers, which are torch modules and plain values, and tokenizers, which are tables."""

_PART = re.compile(r"[A-Z]\w*|_?(?:unpickle|reconstruct|rebuild|restore|deserialize)\w*")
"""A class, or a function by which pickles of a library build one of its objects."""

Kind = Literal["data", "known", "unknown", "executes", "code"]
DOORS = frozenset(
    [
        *("__class__", "__bases__", "__base__", "__mro__", "mro", "__subclasses__", "__globals__", "__builtins__", "__dict__"),
        *("__getattribute__", "__getattr__", "__setattr__", "__code__", "__closure__", "__func__", "__self__", "__init_subclass__"),
        *("__reduce__", "__reduce_ex__", "__import__", "__loader__", "__spec__", "f_globals", "gi_frame"),
    ]
)
"""Attributes that lead from any object to the interpreter's own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """kind, and for all but data a sentence about the name."""

    kind: Kind
    what: str = ""


@cache
def judge(module: str, name: str) -> Verdict:
    """Judge one import by the name in the stream, and by the one that Python 3 makes of a name of Python 2; the worse one counts."""
    here = _judge(module, name)
    renamed = _renamed(module, name)
    there = here if renamed == (module, name) else _judge(*renamed)
    severity = ("data", "known", "unknown", "executes", "code")
    if severity.index(there.kind) >= severity.index(here.kind) or (there.kind in ("data", "known") and _of_python_2(module, name)):
        return there
    return here


def _judge(module: str, name: str) -> Verdict:
    full = f"{module}.{name}"
    listed = _listed(module, name)
    if listed:
        return Verdict(listed, f"rebuilds {full}, which is known as data only" if listed == "known" else "")
    if reason := _executes(module, name):
        return Verdict("code" if module in _words("code") else "executes", f"imports {_short(full)}, which {reason}")
    return Verdict("unknown", f"imports {_short(full)}, of which it is not known what it does when it is called")


def _listed(module: str, name: str) -> Literal["data", "known"] | None:
    package = module.partition(".")[0]
    if package == SCRIPT:
        return "known"
    table = _known(FILES.get(package) or ("python" if module in _known("python") else "others"))
    if found := table.get(module, {}).get(name):
        return found
    if (_MODEL.fullmatch(module) and _CLASS.fullmatch(name)) or unpickles_keras(module, name):
        return "known"
    if package == "sklearn" and not module.startswith(("sklearn.datasets", "sklearn.externals")):
        return "known" if name in _anywhere("sklearn") else None
    return None


def unpickles_keras(module: str, name: str) -> bool:
    """Whether a name is by what pickles of Keras' models begin: it opens a .keras file, given as a stream, which is scanned by itself."""
    return module.startswith("keras.src.") and re.fullmatch(r"[A-Z]\w*\._unpickle_model", name) is not None


def _executes(module: str, name: str) -> str:
    """Why a name is known to do harm, or nothing."""
    parts = [*module.split("."), *name.split(".")]
    if door := next((part for part in parts if part in DOORS), None):
        return f"leads through {door} to the interpreter's own objects"
    exact, below = _modules("modules")
    prefixes = {".".join(parts[: i + 1]) for i in range(len(module.split(".")))}
    if module in exact or prefixes & below:
        return "can run code, touch files, reach the network or load other code"
    if prefixes & _modules("libraries")[1] and not _PART.fullmatch(name.rpartition(".")[2]):
        return "is a function of a library that loads, runs or writes"
    inner = {part.lstrip("_") for part in name.split(".")[:-1]}
    if inner & exact:
        return f"reaches the module {min(inner & exact)} through another"
    if name.rpartition(".")[2] in _words("names") or f"{module}.{name}" in _words("functions"):
        return "by its name runs code or reads and writes files"
    return ""


def _short(full: str) -> str:
    return full if len(full) <= 120 else f"{full[:117]}…"


@cache
def _known(file: str) -> dict[str, dict[str, Literal["data", "known"]]]:
    table: dict[str, dict[str, Literal["data", "known"]]] = {}
    kind: Literal["data", "known"] = "data"
    for line in (FOLDER / f"{file}.txt").read_text("utf-8").splitlines():
        module, colon, names = line.partition(": ")
        if line in ("[data]", "[objects]"):
            kind = "data" if line == "[data]" else "known"
        elif colon and not line.startswith("#"):
            table.setdefault(module, {}).update(dict.fromkeys(names.split(), kind))
    return table


@cache
def packages() -> frozenset[str]:
    """Packages of which some names are known as data: imports of them pass."""
    return frozenset(module.partition(".")[0] for file in ("python", "others", *FILES.values()) for module in _known(file))


@cache
def _anywhere(file: str) -> frozenset[str]:
    return frozenset(name for names in _known(file).values() for name in names)


@cache
def _words(key: str) -> frozenset[str]:
    lines = (FOLDER / "executes.txt").read_text("utf-8").splitlines()
    return frozenset(word for line in lines if line.startswith(f"{key}: ") for word in line.split()[1:])


@cache
def _modules(key: str) -> tuple[frozenset[str], frozenset[str]]:
    """Modules listed by themselves, and those with all that lies below them."""
    words = _words(key)
    below = frozenset(word[:-1] for word in words if word.endswith("*"))
    return frozenset(word for word in words if not word.endswith("*")) | below, below


def _of_python_2(module: str, name: str) -> bool:
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    return module in IMPORT_MAPPING or (module, name) in NAME_MAPPING


def _renamed(module: str, name: str) -> tuple[str, str]:
    """As pickle does for streams of protocols below 3."""
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    return NAME_MAPPING.get((module, name)) or (IMPORT_MAPPING.get(module, module), name)
