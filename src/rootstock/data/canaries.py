"""Texts that nobody ever wrote, some planted among the rows to learn from and others never: what a model knows of the first and not of the
second it has memorised.

All are drawn alike, and which are planted is drawn too: a model that remembers nothing finds every order of them equally likely.
"""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from rootstock.core.errors import DataError
from rootstock.core.rows import spell
from rootstock.core.seed import stream
from rootstock.data.files import decode, fetch

FILE = "canaries.csv"
_COLUMNS = ("text", "text_pair", "label", "planted")
_STARTS, _VOWELS, _WORDS = "bdfgklmnprstvz", "aeiou", 6
_CONTROLS, _FEWEST = 5, 200
"""Controls beside each planted one, and in all at least: an exposure reaches log2 of their number."""


class Canary(NamedTuple):
    """label: None where nothing is labelled, or where a list names none."""

    text: str
    pair: str
    label: Any
    planted: bool


def made(count: int, seed: int, labels: Sequence[Any]) -> list[Canary]:
    """So many to plant, and controls. labels: of which each gets one by chance; empty where nothing is labelled."""
    drawn = stream(seed, "canaries")
    total = count + max(_CONTROLS * count, _FEWEST)
    planted = set(drawn.choice(total, count, replace=False).tolist())

    def text() -> str:
        words = drawn.integers(0, [len(_STARTS), len(_VOWELS)] * 3, (_WORDS, 6)).tolist()
        return " ".join("".join((_STARTS, _VOWELS)[place % 2][letter] for place, letter in enumerate(word)) for word in words)

    return [Canary(text(), text(), labels[int(drawn.integers(len(labels)))] if labels else None, i in planted) for i in range(total)]


def as_csv(canaries: Sequence[Canary]) -> str:
    """The list that a run folder keeps."""
    stream_ = StringIO()
    table = csv.writer(stream_, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows((each.text, each.pair, "" if each.label is None else spell(each.label), int(each.planted)) for each in canaries)
    return stream_.getvalue()


def read(path: Path) -> list[Canary]:
    """A list with the columns text and planted (1 or 0), and label where labels were learned. DataError where it is none."""
    data, _ = fetch(path, str(path))
    text, _ = decode(data, str(path), encoding="auto")
    table = csv.DictReader(StringIO(text, newline=""))
    if missing := [name for name in ("text", "planted") if name not in (table.fieldnames or ())]:
        raise DataError(f"{path} has no column {missing[0]!r}", wanted="a CSV file with the columns text and planted", fix="add it")
    found = []
    for row in table:
        if row["planted"] not in ("0", "1"):
            raise DataError(f"{path}, line {table.line_num}: planted is {row['planted']!r}", wanted="1 or 0", fix="correct the line")
        found.append(Canary(row["text"], row.get("text_pair") or "", row.get("label") or None, row["planted"] == "1"))
    if len({each.planted for each in found}) < 2:
        raise DataError(f"{path} lists {len(found)} canaries", wanted="planted ones and controls", fix="add rows with planted 0")
    return found
