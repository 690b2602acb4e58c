"""Rooms import downwards only, and rooms on one line never one another; this table is the law."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "rootstock"
LEVELS = [
    {"core"},
    {"sentinel"},
    {"tasks", "methods", "bases", "data"},
    {"corpus", "loop", "evaluation", "planning", "serving", "report"},
    {"catalog"},
    {"run"},
    {"verbs"},
    {"cli"},
]
FREE = {"__init__", "__main__"}
"""The public names and `python -m` stand above all rooms."""
MAY_SEE_CATALOG = {"run", "verbs", "cli"}
FILES = [path for path in ROOT.rglob("*.py") if path.stat().st_size and path.relative_to(ROOT).parts[0].removesuffix(".py") not in FREE]


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def level(room):
    return next(i for i, rooms in enumerate(LEVELS) if room in rooms)


FORBIDDEN = {"print", "load", "loads", "save", "dump"}
"""How the names of calls end that are looked at: to write each one out takes seconds."""


def nodes(path):
    """All of a file's syntax tree."""
    return ast.walk(ast.parse(path.read_text("utf-8")))


@cache
def read(path):
    """What a file imports, each as a module and the names asked of it, and the calls that are looked at: every file is parsed once."""
    imports, spoken = [], set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            imports.append((node.module or "", {alias.name for alias in node.names}))
        elif isinstance(node, ast.Import):
            imports += [(alias.name, set()) for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and _last(node.func) in FORBIDDEN:
            spoken.add(ast.unparse(node.func))
    return imports, spoken


def _last(name):
    return name.id if isinstance(name, ast.Name) else name.attr


def imported(path):
    """The rooms that a file imports from."""
    found = set()
    for module, names in read(path)[0]:
        top, *below = module.split(".")
        if top == "rootstock":
            found |= {below[0]} if below else names & set().union(*LEVELS)
    return found


def test_imports_go_down():
    assert len(FILES) > 500
    wrong = []
    for path in FILES:
        own = room_of(path)
        for room in imported(path) - {own}:
            if level(room) >= level(own) or (room == "catalog" and own not in MAY_SEE_CATALOG):
                wrong.append(f"{path.relative_to(ROOT)} imports {room}")
    assert not wrong


@pytest.mark.parametrize("kind", ["tasks", "methods"])
def test_siblings_do_not_know_each_other(kind):
    for path in (ROOT / kind).glob("[a-z]*.py"):
        for module, names in read(path)[0]:
            if module.startswith(f"rootstock.{kind}"):
                assert all(name.startswith("_") for name in names) or module.rsplit(".", 1)[1].startswith("_"), path


def test_loop_names_no_task_and_no_method():
    from rootstock import catalog

    names = {name.replace("-", "_") for kind in ("tasks", "methods") for name in catalog.names(kind)} - {"full"}
    for path in (ROOT / "loop").glob("*.py"):
        words = {node.id for node in nodes(path) if isinstance(node, ast.Name)}
        assert not words & names, path


def test_the_sentinel_reads_bytes_only():
    for path in (ROOT / "sentinel").rglob("*.py"):
        tops = {module.split(".")[0] for module, _ in read(path)[0]}
        assert not tops & {"torch", "transformers", "pickle", "joblib", "dill"}, path


def test_nothing_prints_below_cli_and_nothing_unpickles():
    for path in FILES:
        _, spoken = read(path)
        assert room_of(path) == "cli" or "print" not in spoken, path
        assert not spoken & {"torch.load", "torch.save", "pickle.load", "pickle.loads", "pickle.dump", "joblib.load"}, path
