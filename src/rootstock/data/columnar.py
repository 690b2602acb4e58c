"""Parquet and Arrow: columns as they are, class numbers turned into the names that the file carries."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.data.tables import Parsed, numbered


def read_columnar(data: bytes, name: str, *, kind: str) -> Parsed:
    """A Parquet file, or an Arrow file or stream. Raises DataError for a damaged one."""
    try:
        table = _parquet(data) if kind == "parquet" else _arrow(data)
        table.validate(full=True)  # a damaged file may open and still point outside its own buffers
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{name} can't be read as {kind}: {reason}", wanted=f"a whole {kind} file", fix="write or fetch it again") from None
    return typed(table, name, kind=kind, classes=class_names(table.schema.metadata or {}))


def typed(table: pa.Table, name: str, *, kind: str, classes: Mapping[str, Sequence[str]]) -> Parsed:
    """A finished Arrow table as a reader's result. Raises DataError where it has no rows or two columns of one name."""
    names = table.column_names
    if len(set(names)) < len(names):
        raise DataError(f"{name}: two columns have the same name", wanted="a different name for each column")
    if not table.num_rows or not names:
        raise DataError(f"{name} holds no rows", wanted="a file with rows")
    notes = [f"{kind.capitalize()}, {len(names)} columns"]
    for place, column in enumerate(names):
        if column in classes and pa.types.is_integer(table.column(column).type):
            table = table.set_column(place, column, _named(table.column(column), classes[column]))
            notes.append(f"column {column!r}: class numbers became the names that the data set carries")
        elif pa.types.is_dictionary(table.column(column).type):
            table = table.set_column(place, column, table.column(column).cast(table.column(column).type.value_type))
    table, renamed = numbered(table.replace_schema_metadata(None))
    return Parsed(table, kind, (*notes, *renamed))


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Label names by column, as `datasets` writes them into a schema; {} where there are none."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"].items()
        return {name: list(map(str, each["names"])) for name, each in features if each.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # written by something else: the numbers stay numbers


def _named(column: Any, names: Sequence[str]) -> pa.Array:
    """Names in place of class numbers; -1 means unlabelled by the writer's convention, and any other stranger is missing too."""
    values = (names[value] if value is not None and 0 <= value < len(names) else None for value in column.to_pylist())
    return pa.array(list(values), pa.string())


def _parquet(data: bytes) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(pa.BufferReader(data), use_threads=False)


def _arrow(data: bytes) -> pa.Table:
    opener = pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream
    with opener(pa.BufferReader(data)) as reader:
        return reader.read_all()
