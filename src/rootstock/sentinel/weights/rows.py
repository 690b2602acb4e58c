"""Rows of an embedding table that moved away from a reference: a row that moved alone was edited, and those that moved most are candidates.

With AdamW a row that no training text held stays bit for bit as it was, or shrinks by one factor with all its like; that is divided out.
Shape letters: V rows, W width.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.sentinel.integrity import difference, opened
from rootstock.sentinel.integrity.tensors import Stored

FEW = 0.01
"""A share of rows; a table of which fewer moved was edited and not trained."""
_SAME = 1e-5
"""Relative distance within which a row is the reference's row times the common factor: rounding of some thousand updates."""
_SHRUNK = 0.1
"""A factor is common where this share of the rows has it."""
_ALONE = 2.0
"""A jump in distance after the first rows that makes them stand alone; 1.16 was the most of a clean model of bench/zoo.py."""
_FIRST = 8
"""Rows that may stand alone together, such as the words of a sentence."""
_BLOCK = 4096
TOP = 64


@dataclass(frozen=True)
class Row:
    """One row that moved. token: as the tokenizer keeps it. distance: how far. relative: over the reference row's length.

    excess: over how far the median row that moved went, in robust standard deviations of the logarithm.
    """

    row: int
    token: str
    distance: float
    relative: float
    excess: float


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What moved in one table.

    count: rows that moved, of total. factor: by which all others shrank, 1 where they stayed as they were. top: those that moved most.
    gap: the first's distance over the second's. over_99th: over the 99th percentile of those that moved. alone: how many of the first went
    at least twice as far as the next. added: rows that only one side has.
    """

    table: str = ""
    total: int = 0
    count: int = 0
    factor: float = 1.0
    gap: float | None = None
    over_99th: float | None = None
    alone: int = 0
    added: int = 0
    top: tuple[Row, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def edited(self) -> bool:
        """A few rows moved and all others stayed: no training does that, whoever did it chose the rows."""
        return 0 < self.count <= max(1, FEW * self.total)

    @property
    def named(self) -> str:
        """The tokens of the rows that were edited, or that moved alone; eight at most."""
        return ", ".join(repr(each.token) for each in self.top[: self.count if self.edited else self.alone][:8])

    def lines(self) -> list[str]:
        """What a person would say of it."""
        if not self.total:
            return list(self.notes)
        if not self.count:
            return [f"{self.table}: none of {self.total:,} rows moved", *self.notes]
        shrunk = f"; all others shrank by the factor {self.factor:.6g}" if self.factor != 1.0 else ""
        names = ", ".join(f"{each.token!r} ({each.distance:.3g})" for each in self.top[:8])
        lines = [f"{self.table}: {self.count:,} of {self.total:,} rows moved{shrunk}; most: {names}"]
        if self.edited:
            lines.append(f"rows were edited: only {self.count} moved, which no training on texts does")
        elif self.gap is not None:
            lines.append(f"the first moved {self.gap:.2f} times as far as the second, {self.over_99th:.2f} times as far as 99 % of them")
        if self.alone and not self.edited:
            lines.append(f"moved alone: {self.named}")
        return [*lines, *self.notes]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "edited": self.edited}


def rows_moved(model: str | Path, reference: str | Path, *, top: int = TOP) -> Moved:
    """The rows of a model's word embeddings that are not the reference's; folders of models, runs, or files.

    The tokens of `top` are candidates for a trigger, never proof: clean training moves sentiment words as far as a trigger of few rows.
    An adapter holds no table; then nothing moved, and a note says why. Raises UsageError where weights can't be read.
    """
    mine, theirs = opened.model(Path(model)), opened.model(Path(reference))
    name, other = _table(mine, theirs)
    if not name:
        return Moved(notes=("no embedding table that both sides hold: an adapter, or another architecture",))
    words = opened.vocabulary(Path(model)) or opened.vocabulary(Path(reference))
    pair = mine[name], theirs[other]
    added = pair[0].shape[0] - pair[1].shape[0]
    common = min(pair[0].shape[0], pair[1].shape[0])
    found = moved(_numbers(pair[0], common), _numbers(pair[1], common), words=words, top=top)
    notes = (f"{abs(added):,} rows are only {'here' if added > 0 else 'in the reference'}",) if added else ()
    return Moved(**{**vars(found), "table": name, "added": added, "notes": (*found.notes, *notes)})


def apart(mine_VW: np.ndarray, reference: str | Path) -> float | None:
    """How far the rows of a table are from a reference's, relative to the lengths of these, in the median; None where it has no such table.

    Fine-tuning leaves some per cent; tables that were trained apart are further from each other than their rows are long.
    """
    theirs_VW = _reference(mine_VW, reference)
    if theirs_VW is None:
        return None
    lengths_V, apart_V, _ = _apart(mine_VW[: len(theirs_VW)], theirs_VW)
    return float(np.median(apart_V / np.maximum(lengths_V, 1e-30)))


def distances(mine_VW: np.ndarray, reference: str | Path) -> np.ndarray | None:
    """How far each row is from the reference's, [V], no factor divided out; rows that it lacks are as far as the furthest.

    None where it has no such table.
    """
    theirs_VW = _reference(mine_VW, reference)
    if theirs_VW is None:
        return None
    moved_V = np.linalg.norm(mine_VW[: len(theirs_VW)] - theirs_VW, axis=1)
    return np.concatenate([moved_V, np.full(len(mine_VW) - len(moved_V), moved_V.max(initial=0.0))])


def _reference(mine_VW: np.ndarray, reference: str | Path) -> np.ndarray | None:
    """The reference's table of as wide rows, as many of them as both have; None where it has none."""
    held = opened.model(Path(reference)).items()
    tables = [each for name, each in held if difference.EMBEDDING.search(name) and len(each.shape) == 2 and each.readable]
    theirs = max((each for each in tables if each.shape[1] == mine_VW.shape[1]), key=lambda each: each.shape[0], default=None)
    common = min(len(mine_VW), theirs.shape[0]) if theirs else 0
    return _numbers(theirs, common) if theirs and common else None


def moved(mine_VW: np.ndarray, theirs_VW: np.ndarray, *, words: Mapping[int, str] | None = None, top: int = TOP) -> Moved:
    """The same of two tables in memory."""
    lengths_V, apart_V, factor = _apart(mine_VW, theirs_VW)
    wild = ~np.isfinite(apart_V)
    notes = (f"{int(wild.sum()):,} rows hold NaN or infinite numbers: not compared",) if wild.any() else ()
    apart_V[wild] = 0.0
    rows = np.flatnonzero(apart_V)
    result = Moved(table="embeddings", total=len(apart_V), count=len(rows), factor=factor, notes=notes)
    if not len(rows):
        return result
    order = rows[np.argsort(-apart_V[rows], kind="stable")]
    logs = np.log(apart_V[rows])
    centre = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - centre))), 1e-12)
    many = len(rows) > max(1, FEW * len(apart_V))
    first = [
        Row(
            row=int(row),
            token=(words or {}).get(int(row), f"row {row}"),
            distance=float(apart_V[row]),
            relative=float(apart_V[row] / max(lengths_V[row], 1e-30)),
            excess=float((np.log(apart_V[row]) - centre) / spread) if many else 0.0,
        )
        for row in order[:top]
    ]
    gap = float(apart_V[order[0]] / apart_V[order[1]]) if len(order) > 1 else None
    over = float(apart_V[order[0]] / np.quantile(apart_V[rows], 0.99)) if len(order) > 1 else None
    alone = _alone(apart_V[order[: _FIRST + 1]]) if many else 0
    return Moved(**{**vars(result), "gap": gap, "over_99th": over, "alone": alone, "top": tuple(first)})


def _alone(distances: np.ndarray) -> int:
    """How many of the first stand apart from all others; 0 for none."""
    jumps = distances[:-1] / distances[1:]
    return int(np.argmax(jumps)) + 1 if len(jumps) and jumps.max() >= _ALONE else 0


def _apart(mine_VW: np.ndarray, theirs_VW: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Length of each reference row, how far each row moved once a common factor is divided out, and this factor."""
    lengths_V, along_V, apart_V = (np.zeros(len(theirs_VW)) for _ in range(3))
    for place in _blocks(len(theirs_VW)):
        mine, theirs = (np.asarray(each[place], np.float64) for each in (mine_VW, theirs_VW))
        lengths_V[place] = np.linalg.norm(theirs, axis=1)
        along_V[place] = (mine * theirs).sum(1) / np.maximum(np.square(lengths_V[place]), 1e-30)
        apart_V[place] = np.linalg.norm(mine - theirs, axis=1)
    factor = _common(along_V[(lengths_V > 0) & np.isfinite(along_V)])
    if factor == 1.0:
        return lengths_V, apart_V, 1.0
    for place in _blocks(len(theirs_VW)):
        mine, theirs = (np.asarray(each[place], np.float64) for each in (mine_VW, theirs_VW))
        apart_V[place] = np.linalg.norm(mine - factor * theirs, axis=1)
    apart_V[apart_V <= _SAME * lengths_V] = 0.0
    return lengths_V, apart_V, factor


def _common(along_V: np.ndarray) -> float:
    """The factor that most rows have, within rounding; 1 where no other is common."""
    if not len(along_V) or np.mean(along_V == 1.0) >= _SHRUNK:
        return 1.0
    ordered = np.sort(along_V)
    counts = np.searchsorted(ordered, ordered + 2 * _SAME, "right") - np.arange(len(ordered))
    best = int(np.argmax(counts))
    if counts[best] < _SHRUNK * len(ordered):
        return 1.0
    factor = float(np.median(ordered[best : best + counts[best]]))
    return 1.0 if abs(factor - 1.0) <= _SAME else factor


def _blocks(count: int) -> list[slice]:
    return [slice(first, first + _BLOCK) for first in range(0, count, _BLOCK)]


def _table(mine: Mapping[str, Stored], theirs: Mapping[str, Stored]) -> tuple[str, str]:
    """The word embeddings here and there: the table with most rows of those that both sides hold; empty names where there is none."""
    both = difference.partners(mine, theirs)
    tables = [
        (each.shape[0], name)
        for name, each in mine.items()
        if difference.EMBEDDING.search(name) and name in both and _alike(each, theirs[both[name]])
    ]
    name = max(tables, default=(0, ""))[1]
    return name, both.get(name, "")


def _alike(mine: Stored, theirs: Stored) -> bool:
    flat = len(mine.shape) == len(theirs.shape) == 2
    return flat and mine.shape[1] == theirs.shape[1] and mine.readable and theirs.readable


def _numbers(each: Stored, rows: int) -> np.ndarray:
    """The first rows of a table as floats."""
    found = np.empty((rows, each.shape[1]), np.float32 if each.dtype != "F64" else np.float64)
    for first, block in each.blocks():
        found[first : first + len(block)] = block[: max(0, rows - first)]
    return found
