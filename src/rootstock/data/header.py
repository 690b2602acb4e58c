"""Whether the first line of a file names its columns or is a row already."""

from rootstock.core.errors import DataError
from rootstock.data.looks import KNOWN, is_number, plain

_LONGEST_NAME, _MOST_WORDS = 40, 4


def has_header(records: list[list[str]]) -> bool:
    """Judge by the first records; the first is the one in question."""
    first, rest = [cell.strip() for cell in records[0]], records[1:]
    if first == [str(index) for index in range(len(first))] and len(first) > 1:
        return True  # what pandas writes above a frame without names
    data = any(_is_data(cell) for cell in first)
    if not data and any(plain(cell) in KNOWN for cell in first):
        return True
    if data or first.count("") > 1 or len(set(first)) < len(first):
        return False
    columns = list(zip(*rest, strict=False))
    if any(all(is_number(cell) for cell in column) for column in columns):
        return True
    return len(columns) > 1 and not any(cell in column for cell, column in zip(first, columns, strict=False))


def _is_data(cell: str) -> bool:
    return is_number(cell) or len(cell) > _LONGEST_NAME or len(cell.split()) > _MOST_WORDS


def column_names(first: list[str], name: str) -> list[str]:
    """Cells of a header line as column names; nameless columns are called by their place. Raises DataError for duplicates."""
    names = [cell.strip().strip('"').strip() or f"column_{place}" for place, cell in enumerate(first, 1)]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise DataError(
            f"{name}: the header names {', '.join(map(repr, twice))} more than once",
            wanted="a different name for each column",
            fix="rename them, or set data.header=no if the first line is a row",
        )
    return names
