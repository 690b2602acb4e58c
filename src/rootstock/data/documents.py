"""JSON lines and JSON: one object a row."""

import json
from collections.abc import Sequence
from typing import Any

from rootstock.core.errors import DataError
from rootstock.data import squad
from rootstock.data.looks import shorten
from rootstock.data.tables import Parsed, build


def read_jsonl(text: str, name: str) -> Parsed:
    """One object a line. Raises DataError with the line for anything else."""
    objects: list[dict[str, Any]] = []
    lines: list[int] = []
    # not splitlines: U+2028 and its kin may stand inside a JSON string
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.isspace():
            objects.append(_object(_parse(line, f"{name}, line {number}"), f"{name}, line {number}"))
            lines.append(number)
    return _table(objects, lines, name=name, kind="jsonl")


def read_json(text: str, name: str) -> Parsed:
    """A list of objects, or an object whose "data" is one; of SQuAD's articles their questions.

    A file of JSON lines under this name is read as such.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if _begins_with_object(text):
            return read_jsonl(text, name)
        value = _parse(text, name)
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if squad.is_nested(value):
        value = squad.rows(value, name)
    if not isinstance(value, list):
        raise DataError(f"{name} holds {_kind(value)}", wanted='a list of objects, or {"data": [...]}', fix="convert it to JSON lines")
    objects = [_object(each, f"{name}, record {number}") for number, each in enumerate(value, 1)]
    return _table(objects, range(1, len(objects) + 1), name=name, kind="json")


def _begins_with_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text.lstrip().split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f", line {error.lineno}" if "line" not in where else ""
        raise DataError(f"{where}{place}: no JSON: {error.msg}: {shorten(text, 60)!r}", wanted="one JSON object a row") from None
    except ValueError as error:
        raise DataError(f"{where}: {error}", wanted="numbers of ordinary size") from None
    except RecursionError:
        raise DataError(f"{where}: brackets are nested too deeply", wanted="flat objects") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: found {_kind(value)}", wanted='an object such as {"text": "…", "label": "…"}')
    return value


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _table(objects: list[dict[str, Any]], numbers: Sequence[int], *, name: str, kind: str) -> Parsed:
    names = list(dict.fromkeys(key for each in objects for key in each))
    if not names:
        raise DataError(f"{name} holds no rows", wanted="objects with a text and a label")
    table, notes = build({key: [each.get(key) for each in objects] for key in names}, numbers, name=name)
    return Parsed(table, kind, (f"{'JSON lines' if kind == 'jsonl' else 'JSON'}, {len(names)} key{'s' if len(names) > 1 else ''}", *notes))
