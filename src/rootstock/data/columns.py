"""One column at a time: how it looks, as texts, and as labels with the missing ones marked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rootstock.core.errors import DataError
from rootstock.data.looks import names_id, shorten

_NUMERIC = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_NOTHING = ("nan", "na", "n/a", "null", "none", "")
_MANY = 20


@dataclass(frozen=True)
class Look:
    """What a column holds.

    kind: text, number, list, empty or other. length: letters on average. numbers_rows: it only identifies rows.
    """

    name: str
    kind: str
    count: int
    distinct: int
    length: float
    examples: tuple[str, ...]
    numbers_rows: bool

    @property
    def values(self) -> str:
        """How many values, and the first of them; of lists the first that stand in them."""
        if self.distinct:
            amount = f"{self.distinct:,} different value{'s' if self.distinct > 1 else ''}"
        else:
            amount = f"{self.count:,} {'lists of values' if self.kind == 'list' else 'values'}"
        return f"{amount}, such as {', '.join(self.examples)}"

    @property
    def spoken(self) -> str:
        """The look in words."""
        role = ", only numbers the rows" if self.numbers_rows else ""
        return f"{self.kind}, {self.values}{role}" if self.count else "empty"


def look(column: Any, name: str) -> Look:
    """Profile a column by all of its rows."""
    column = column.drop_null()
    if not len(column):
        return Look(name, "empty", 0, 0, 0.0, (), False)
    if pa.types.is_nested(column.type):
        if is_list(column.type) and not pa.types.is_nested(column.type.value_type):
            return Look(name, "list", len(column), 0, 0.0, _members(column), False)
        return Look(name, "other", len(column), 0, 0.0, (shorten(str(column[0].as_py()), 30),), False)
    try:
        cells = column.cast(pa.string())
    except pa.ArrowException:
        return Look(name, "other", len(column), 0, 0.0, (str(column.type),), False)
    distinct = cells.unique()
    numeric = bool(pc.all(pc.match_substring_regex(distinct, _NUMERIC)).as_py())
    length = float(pc.mean(pc.utf8_length(cells)).as_py())
    examples = tuple(repr(shorten(each, 30)) for each in distinct[:3].to_pylist())
    all_differ = len(distinct) == len(cells) > _MANY
    dense = (
        bool(pc.all(pc.match_substring_regex(distinct, r"^\d+$")).as_py())
        if numeric
        else not bool(pc.any(pc.match_substring_regex(distinct, r"\s")).as_py())
    )
    return Look(
        name, "number" if numeric else "text", len(cells), len(distinct), length, examples, names_id(name) or (all_differ and dense)
    )


def _members(column: Any) -> tuple[str, ...]:
    """The first different values that lists hold; of the first list where all are empty."""
    held = pc.list_flatten(column).unique()[:3].to_pylist()
    return tuple(repr(shorten(each, 30)) if isinstance(each, str) else str(each) for each in held) or ("[]",)


def texts(column: Any, where: str) -> Any:
    """A column as strings; missing cells are "". Raises DataError for lists, objects and bytes that are no text."""
    if pa.types.is_nested(column.type):
        raise DataError(f"{where} holds {column.type}", wanted="one text in each row", fix="choose another column with --text NAME")
    try:
        return pc.fill_null(column.cast(pa.string()), "")
    except pa.ArrowException as error:
        raise DataError(f"{where}: {str(error).splitlines()[0]}", wanted="texts", fix="choose another column with --text NAME") from None


def labels(column: Any, where: str) -> tuple[Any, np.ndarray]:
    """A column as string, int64, float64 or list<string>, and which rows have none, shape [N]. Raises DataError for other kinds."""
    kind = column.type
    try:
        if is_list(kind) and not pa.types.is_nested(kind.value_type):
            return _lists(column)
        if pa.types.is_nested(kind):
            raise DataError(
                f"{where} holds {kind}", wanted="a name, a number or a list of names", fix="choose another column with --label NAME"
            )
        if pa.types.is_integer(kind):
            return column.cast(pa.int64()), _mask(pc.is_null(column))
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            values = column.cast(pa.float64())
            return values, _mask(pc.is_null(values, nan_is_null=True))
        values = column.cast(pa.string())
    except pa.ArrowException as error:
        raise DataError(
            f"{where}: {str(error).splitlines()[0]}", wanted="names or numbers", fix="choose another column with --label NAME"
        ) from None
    return values, _mask(pc.is_in(values, value_set=_missing_words(values)))


def _missing_words(values: Any) -> pa.Array:
    """The values of a string column that stand for nothing: blanks, and NA and its kin where all else is a number.

    Among names, none and na may well be classes.
    """
    distinct = [each for each in values.unique().to_pylist() if each is not None]
    blank = [each for each in distinct if not each.strip()]
    nothing = [each for each in distinct if each.strip().casefold() in _NOTHING]
    others = pa.array([each for each in distinct if each not in nothing], pa.string())
    numeric = len(others) > 0 and bool(pc.all(pc.match_substring_regex(others, _NUMERIC)).as_py())
    return pa.array([*(nothing if numeric else blank), None], pa.string())


def _lists(column: Any) -> tuple[Any, np.ndarray]:
    """Label lists. An empty list is an answer (no label applies); a missing one, or one with a missing member, is none."""
    values = column.cast(pa.list_(pa.string()))
    missing = [each is None or None in each for each in values.to_pylist()]
    return values, np.asarray(missing, dtype=bool)


def is_list(kind: Any) -> bool:
    """Whether a column's type is a list of any kind."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _mask(values: Any) -> np.ndarray:
    return np.asarray(values.to_numpy(), dtype=bool)
