"""Budgets of size; a change that breaks one is split or made smaller, not excused."""

import ast
import re
import statistics
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "rootstock"
FILES = [path for path in ROOT.rglob("*.py") if path.stat().st_size]


@cache
def functions():
    """Each function with its file."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [(path, node) for path in FILES for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)]


def body_lines(node):
    """Lines of a function without its docstring."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    start = node.body[1].lineno if documented and len(node.body) > 1 else first.lineno
    return node.end_lineno - start + 1


def test_files_are_short():
    lines = {path: path.read_text("utf-8").count("\n") for path in FILES}
    assert max(lines.values()) <= 400, max(lines, key=lines.get)
    assert statistics.median(lines.values()) <= 120


def test_functions_are_short():
    lengths = {f"{path.name}:{node.name}": node.end_lineno - node.lineno + 1 for path, node in functions()}
    assert max(lengths.values()) <= 60, max(lengths, key=lengths.get)
    assert statistics.median(body_lines(node) for _, node in functions()) <= 8


def test_functions_take_few_parameters():
    for path, node in functions():
        if path.parent.name == "cli":
            continue  # a verb's parameters are its options
        arguments = [a.arg for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")]
        assert len(arguments) + len(node.args.kwonlyargs) <= 6, f"{path.name}:{node.name}"


def test_verbs_are_short():
    for path in (ROOT / "cli").glob("[a-z]*.py"):
        if path.stem not in ("main", "console"):
            assert path.read_text("utf-8").count("\n") <= 60, path


def test_nothing_is_left_to_do():
    for path in FILES:
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text("utf-8")), path


def test_the_recipe_has_few_keys():
    from rootstock.run.schema import commented

    lines = [line.strip() for line in commented().splitlines()]
    keys = [line for line in lines if line and not line.startswith("#") and not line.endswith(":")]  # a section's name is none to set
    assert 40 < len(keys) < 80
