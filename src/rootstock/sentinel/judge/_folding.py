"""Constants of a template, computed without rendering: joined, repeated, reversed, formatted or replaced texts."""

from collections.abc import Callable
from typing import Any

from jinja2 import nodes

UNKNOWN = object()
MAX_LENGTH = 10_000


def fold(node: nodes.Node, names: dict[str, Any] | None = None) -> Any:
    """The value of an expression made of constants, UNKNOWN where it is not. `names`: constants that names stand for."""
    names = names or {}
    if isinstance(node, nodes.Const):
        return node.value
    if isinstance(node, nodes.TemplateData):
        return node.data
    if isinstance(node, nodes.Name):
        return names.get(node.name, UNKNOWN)
    if isinstance(node, nodes.List | nodes.Tuple):
        return _whole([fold(item, names) for item in node.items], list)
    if isinstance(node, nodes.Concat):
        return _whole([fold(item, names) for item in node.nodes], lambda parts: "".join(map(str, parts)))
    return _operated(node, names)


def _whole(parts: list[Any], make: Callable[[list[Any]], Any]) -> Any:
    return UNKNOWN if any(part is UNKNOWN for part in parts) else make(parts)


def _operated(node: nodes.Node, names: dict[str, Any]) -> Any:
    if isinstance(node, nodes.Add | nodes.Mul | nodes.Mod):
        return _binary(node, fold(node.left, names), fold(node.right, names))
    if isinstance(node, nodes.Filter) and node.node is not None:
        return _filtered(node, fold(node.node, names), [fold(item, names) for item in node.args])
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        return _method(node.node.attr, fold(node.node.node, names), [fold(item, names) for item in node.args])
    if isinstance(node, nodes.Neg) and isinstance(value := fold(node.node, names), int):
        return -value
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _sliced(fold(node.node, names), node.arg, names)
    return UNKNOWN


def _sliced(value: Any, cut: nodes.Slice, names: dict[str, Any]) -> Any:
    ends = [None if each is None else fold(each, names) for each in (cut.start, cut.stop, cut.step)]
    if not isinstance(value, str | list) or not all(each is None or isinstance(each, int) for each in ends) or ends[2] == 0:
        return UNKNOWN
    return value[slice(*ends)]


def _binary(node: nodes.BinExpr, left: Any, right: Any) -> Any:
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    if isinstance(node, nodes.Add) and type(left) is type(right) and isinstance(left, str | list | int):
        return left + right
    if isinstance(node, nodes.Mul) and isinstance(left, str) and isinstance(right, int) and len(left) * right <= MAX_LENGTH:
        return left * right
    if isinstance(node, nodes.Mod) and isinstance(left, str):
        return _formatted(left, right if isinstance(right, list) else [right])
    return UNKNOWN


def _formatted(text: str, values: list[Any]) -> Any:
    if len(text) > MAX_LENGTH or any(digit in text for digit in "0123456789"):
        return UNKNOWN
    try:
        return text % tuple(values)
    except (TypeError, ValueError):
        return UNKNOWN


def _filtered(node: nodes.Filter, value: Any, arguments: list[Any]) -> Any:
    if value is UNKNOWN or any(each is UNKNOWN for each in arguments):
        return UNKNOWN
    if node.name == "join" and isinstance(value, list):
        return (str(arguments[0]) if arguments else "").join(map(str, value))
    if not isinstance(value, str):
        return UNKNOWN
    if node.name == "reverse":
        return value[::-1]
    if node.name == "format":
        return _formatted(value, arguments)
    return _method(
        {"trim": "strip", "lower": "lower", "upper": "upper", "replace": "replace", "string": "strip"}.get(node.name, ""), value, arguments
    )


def _method(name: str, value: Any, arguments: list[Any]) -> Any:
    if name == "join" and isinstance(value, str) and arguments and isinstance(arguments[0], list):
        return value.join(map(str, arguments[0]))
    if not isinstance(value, str) or not all(isinstance(each, str) for each in arguments):
        return UNKNOWN
    if name == "replace" and len(arguments) == 2 and len(value) * (len(arguments[1]) + 1) <= MAX_LENGTH:
        return value.replace(arguments[0], arguments[1])
    return getattr(value, name)() if name in ("strip", "lower", "upper", "lstrip", "rstrip", "title", "capitalize") else UNKNOWN
