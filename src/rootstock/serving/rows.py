"""A request's rows as a table, and a table's answers as rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from rootstock.core.errors import RowRefused
from rootstock.core.rows import CHOICES, PAIR, ROW, TEXT, WORDS, Columns, Encoded
from rootstock.core.task import Labelled
from rootstock.serving.told import Answer, ModelInfo

Row = Mapping[str, Any]
"""{"text": …}, of pairs also "text_pair", of choices "choices" (a list), of words "words" (a list) in place of "text"."""
_KNOWN = (TEXT, PAIR, CHOICES, WORDS)


def table(rows: Sequence[Row], info: ModelInfo, task: Labelled) -> pa.Table:
    """Rows with canonical columns. RowRefused for the first that lacks a field, has one too many, or whose field is no text."""
    names = _fields(rows, info, task)
    for index, row in enumerate(rows):
        _check(index, row, names)
    columns: dict[str, pa.Array] = {}
    for name in names:
        kind = pa.list_(pa.string()) if name in (CHOICES, WORDS) else pa.string()
        columns[name] = pa.array([_clean(index, row[name]) for index, row in enumerate(rows)], kind)
    if WORDS in names:
        columns[TEXT] = pa.array([" ".join(row[WORDS]) for row in rows], pa.string())
    return pa.table(columns | {ROW: pa.array(range(1, len(rows) + 1), pa.int64())})


def _fields(rows: Sequence[Row], info: ModelInfo, task: Labelled) -> tuple[str, ...]:
    """What each row must hold: as the model reads; of words, or of one text or two where it takes both, as the first row does."""
    first = rows[0] if rows and isinstance(rows[0], Mapping) else {}
    if task.kind == "tags" and WORDS in first:
        return (WORDS,)
    if task.singly and PAIR in first:
        return (TEXT, PAIR)
    return info.reads


def _check(index: int, row: Any, names: tuple[str, ...]) -> None:
    wanted = "an object with " + " and ".join(names)
    if not isinstance(row, Mapping):
        raise RowRefused(index, "is no object", wanted=wanted)
    if lacking := [name for name in names if name not in row]:
        raise RowRefused(index, f"has no {lacking[0]}", wanted=wanted)
    if strange := [str(name) for name in row if name not in names]:
        why = "not as the first row has it" if strange[0] in _KNOWN else "which this model does not read"
        raise RowRefused(index, f"has {strange[0]!r}, {why}", wanted=wanted)
    for name in names:
        value = row[name]
        if name in (CHOICES, WORDS):
            if not isinstance(value, list) or not value or any(not isinstance(each, str) for each in value):
                raise RowRefused(index, f"its {name} are no list of texts", wanted=f'"{name}": ["a text", …]')
        elif not isinstance(value, str):
            raise RowRefused(index, f"its {name} is no text", wanted=f'"{name}": "a text"')


def _clean(index: int, value: Any) -> Any:
    """The value, which must be letters throughout: JSON can hold halves of them."""
    try:
        for each in [value] if isinstance(value, str) else value:
            each.encode("utf-8")
    except UnicodeEncodeError:
        raise RowRefused(index, "holds what is no letter", wanted="text in UTF-8") from None
    return value


def answers(task: Labelled, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> list[Answer]:
    """Each row's answer from what its encoded pieces got."""
    told = task.readable(task.told(columns, encoded, rows, tokenizer))
    names = list(told)
    return [dict(zip(names, values, strict=True)) for values in zip(*told.values(), strict=True)]
