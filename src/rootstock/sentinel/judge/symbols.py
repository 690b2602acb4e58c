"""Graphs of other frameworks written in JSON: MXNet symbols, skops schemas."""

from collections.abc import Iterator
from typing import Any

from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import names
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.source import Source

PYTHON_OPERATORS = words("Custom _Native _NDArray _CustomFunction _NDArrayFunc Native")


def judge(root: Any, source: Source) -> Iterator[Finding]:
    """Findings on a document that is such a graph; none on another."""
    if isinstance(root, dict) and isinstance(root.get("nodes"), list) and {"arg_nodes", "heads"} & set(root):
        yield from _mxnet(root["nodes"], source)
    if isinstance(root, dict) and "__class__" in root and "__module__" in root:
        yield from _skops(root, source)


def _mxnet(nodes: list[Any], source: Source) -> Iterator[Finding]:
    for node in nodes:
        if isinstance(node, dict) and node.get("op") in PYTHON_OPERATORS:
            attributes = node.get("attrs") or node.get("param") or {}
            kind = attributes.get("op_type") if isinstance(attributes, dict) else None
            yield finding("mxnet-custom-op", source, f"the node {node.get('name')!r} calls the operator {node['op']!r} of type {kind!r}")
        elif isinstance(node, dict) and node.get("subgraphs"):
            for graph in node["subgraphs"] if isinstance(node["subgraphs"], list) else []:
                yield from judge(graph, source)


def _skops(root: Any, source: Source) -> Iterator[Finding]:
    pending = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            module, kind = item.get("__module__"), item.get("__class__")
            if isinstance(module, str) and isinstance(kind, str):
                yield from _skops_object(module, kind, item, source)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _skops_object(module: str, kind: str, item: dict[str, Any], source: Source) -> Iterator[Finding]:
    severity = names.judge(f"{module}.{kind}")
    loader = item.get("__loader__")
    if loader in ("MethodNode", "FunctionNode", "OperatorFuncNode", "PartialNode", "ReduceNode") and severity == "note":
        severity = "note" if module.split(".", maxsplit=1)[0] in ("numpy", "scipy", "sklearn") else "suspicious"
    if severity == "malicious" and module == "builtins" and kind in _TYPES:
        severity = "note"
    if severity != "note":
        yield finding("config-target", source, f"skops rebuilds {module}.{kind}", severity=severity)


_TYPES = words("type NoneType ellipsis bytes bytearray")
