"""Rooms import downwards only, and rooms on one line never one another; this table is the law."""

import ast
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


def nodes(path):
    """All of a file's syntax tree."""
    return ast.walk(ast.parse(path.read_text("utf-8")))


def imported(path):
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rootstock"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names} & set().union(*LEVELS)
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("rootstock.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = room_of(path)
    for room in imported(path) - {own}:
        assert level(room) < level(own), f"{own} imports {room}"
        assert room != "catalog" or own in MAY_SEE_CATALOG


@pytest.mark.parametrize("kind", ["tasks", "methods"])
def test_siblings_do_not_know_each_other(kind):
    for path in (ROOT / kind).glob("[a-z]*.py"):
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"rootstock.{kind}"):
                assert all(alias.name.startswith("_") for alias in node.names) or (node.module or "").rsplit(".", 1)[1].startswith("_"), (
                    path
                )


def test_loop_names_no_task_and_no_method():
    from rootstock import catalog

    names = {name.replace("-", "_") for kind in ("tasks", "methods") for name in catalog.names(kind)} - {"full"}
    for path in (ROOT / "loop").glob("*.py"):
        words = {node.id for node in nodes(path) if isinstance(node, ast.Name)}
        assert not words & names, path


def test_the_sentinel_reads_bytes_only():
    for path in (ROOT / "sentinel").rglob("*.py"):
        for node in nodes(path):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            assert not {name.split(".")[0] for name in names} & {"torch", "transformers", "pickle", "joblib", "dill"}, path


FORBIDDEN = {"print", "load", "loads", "save", "dump"}
"""How the names of calls end that are looked at: to write each one out takes seconds."""


def test_nothing_prints_below_cli_and_nothing_unpickles():
    for path in FILES:
        called = [node.func for node in nodes(path) if isinstance(node, ast.Call)]
        spoken = {ast.unparse(each) for each in called if isinstance(each, ast.Name | ast.Attribute) and _last(each) in FORBIDDEN}
        assert room_of(path) == "cli" or "print" not in spoken, path
        assert not spoken & {"torch.load", "torch.save", "pickle.load", "pickle.loads", "pickle.dump", "joblib.load"}, path


def _last(name):
    return name.id if isinstance(name, ast.Name) else name.attr
