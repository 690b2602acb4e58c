"""Parallel files: a text a line, and the line of the same number in the other file says the same.

They are named with a plus between them: train.en.gz+train.de.gz.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.data.files import decode, fetch
from rootstock.data.tables import Parsed, numbered, strings

PLUS = "+"


def parts(reference: str) -> tuple[str, ...]:
    """The files that a reference names, where it names several of them; () for any other, such as a file with a plus in its name."""
    found = tuple(reference.split(PLUS))
    return found if len(found) > 1 and all(found) and not Path(reference).exists() else ()


def read_parallel(names: tuple[str, ...], *, encoding: str) -> tuple[Parsed, bytes]:
    """A column of lines for each file, called by what its name has of its own (en, de), and the bytes of all.

    Rows that are blank in every file are left out. Raises DataError where one has more lines than another.
    """
    data = [fetch(Path(name), name)[0] for name in names]
    columns = dict(zip(_called(names), (_lines(each, name, encoding) for each, name in zip(data, names, strict=True)), strict=True))
    counts = [len(lines) for lines in columns.values()]
    if len(set(counts)) > 1:
        held = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
        raise DataError(f"the files have different numbers of lines: {held}", wanted="as many in each", fix="check what belongs together")
    kept = [number for number, row in enumerate(zip(*columns.values(), strict=True)) if any(text.strip() for text in row)]
    arrays = {name: strings([lines[i] for i in kept], name) for name, lines in columns.items()}
    table, notes = numbered(pa.table(arrays), np.array(kept, dtype=np.int64) + 1)
    said = f"{len(names)} parallel files, {len(kept):,} lines, columns {', '.join(columns)}"
    return Parsed(table, "lines", (said, *notes)), b"\0".join(data)


def read_lines(text: str) -> Parsed:
    """One text a line, in a column text; blank lines are left out."""
    lines = _split(text)
    kept = [number for number, line in enumerate(lines) if line.strip()]
    table, _ = numbered(pa.table({"text": [lines[i] for i in kept]}), np.array(kept, dtype=np.int64) + 1)
    return Parsed(table, "lines", (f"{len(kept):,} lines",))


def _lines(data: bytes, name: str, encoding: str) -> list[str]:
    return _split(decode(data, name, encoding=encoding)[0])


def _split(text: str) -> list[str]:
    """Not splitlines: U+2028 and its kin may stand inside a sentence."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _called(names: tuple[str, ...]) -> list[str]:
    """What each file's name has of its own: of train.en.gz and train.de.gz en and de; source and target where that tells nothing."""
    pieces = [[piece for piece in Path(name).name.split(".") if piece != "gz"] for name in names]
    own = [[piece for piece in each if not all(piece in other for other in pieces)] for each in pieces]
    found = [each[-1] if each else "" for each in own]
    if all(found) and len(set(found)) == len(found):
        return found
    return ["source", "target"] if len(names) == 2 else [f"column_{number}" for number in range(1, len(names) + 1)]
