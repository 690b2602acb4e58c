"""Rows as they travel: a table with canonical columns, then ragged integer columns, then padded batches.

Shape letters: N rows, B rows in a batch, T tokens in a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

TEXT, PAIR, LABEL, ROW = "text", "text_pair", "label", "row"
"""Canonical column names: text and text_pair are strings, label is whatever the file held, row is where it stood in the file (1-based)."""
WORDS = "words"
"""Column of a text that comes as words, a list of strings; TEXT then holds them with a blank between."""
CHOICES = "choices"
"""Column of what a row's answer is chosen from, a list of strings."""
DOCUMENT, ENDS = "document", "ends"
"""Of a text that is a part of a long document: the number of the document, and whether this is its last part."""
REJECTED = "rejected"
"""Column of answers that are worse than the label."""
NEGATIVE = "negative"
"""Column of texts that do not belong to the text, though they look as if they did."""
PIXELS = "pixels"
"""Column of images, uint8 [H, W, C] each, all of one size; and their name in what is encoded."""
TEACHER, TEACHER_HIDDEN, ALONE = "teacher", "teacher_hidden", "teacher_alone"
"""Dense columns of what a teacher says of a row: its scores, its pooled hidden states, and whether nothing else is known of the row."""
SOURCE = "source"
"""Column of the number of a row's corpus, or of the part of a task that it belongs to."""
PART = "part"
"""Dense column: the row of the table, 0-based, that an encoded row is a piece of."""

IDS = ("input_ids", "pair_ids", "negative_ids", "targets")
"""How names of ragged columns of token ids begin; others hold letters of a passage, sizes, or which tokens are asked."""

Columns = Mapping[str, np.ndarray]
"""Per-row results in the order of the rows; each array has N as its first dimension."""


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths in one flat array: row i is flat[offsets[i]:offsets[i + 1]]."""

    flat: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray], dtype: Any = np.int32) -> "Ragged":
        """Pack lists of integers."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        flat = np.concatenate([np.asarray(row, dtype=dtype) for row in rows]) if len(rows) else np.empty(0, dtype)
        return cls(flat, np.concatenate([[0], np.cumsum(lengths)]))

    @classmethod
    def joined(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """Rows of several parts after each other."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.flat for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row, shape [N]."""
        return np.diff(self.offsets)

    def part(self, start: int, stop: int) -> "Ragged":
        """Some rows that stand together."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.flat[offsets[0] : offsets[-1]], offsets - offsets[0])

    def padded(self, rows: np.ndarray, value: int) -> np.ndarray:
        """The chosen rows as one int64 array [B, T], filled up with `value` on the right."""
        starts, lengths = self.offsets[rows], self.lengths[rows]
        columns_T = np.arange(lengths.max(initial=0))
        inside_BT = columns_T < lengths[:, None]
        source_BT = np.where(inside_BT, starts[:, None] + columns_T, 0)
        return np.where(inside_BT, self.flat[source_BT], value).astype(np.int64)

    def masked(self, rows: np.ndarray, value: int) -> tuple[np.ndarray, np.ndarray]:
        """The same, and which places are the rows' own: 1, and 0 behind them; both int64 [B, T]."""
        padded_BT = self.padded(rows, value)
        return padded_BT, (np.arange(padded_BT.shape[1]) < self.lengths[rows][:, None]).astype(np.int64)


class _Growing:
    """Rows that come one after the other, in one piece of memory that grows where it is."""

    def __init__(self, kind: np.ndarray) -> None:
        self._held, self._count = np.empty((0, *kind.shape[1:]), kind.dtype), 0

    def add(self, rows: np.ndarray) -> None:
        """At the end."""
        if (kind := np.result_type(self._held, rows)) != self._held.dtype:
            self._held = self._held.astype(kind)
        if (end := self._count + len(rows)) > len(self._held):
            self._grow(max(end, len(self._held) * 9 // 8))
        self._held[self._count : end] = rows
        self._count = end

    def whole(self) -> np.ndarray:
        """All of them."""
        self._grow(self._count)
        return self._held

    def _grow(self, count: int) -> None:
        self._held.resize((count, *self._held.shape[1:]), refcheck=False)  # no other array looks at it


@dataclass(frozen=True)
class Encoded:
    """What a task made of N rows: ragged token columns, and dense per-row arrays such as labels.

    lengths: padded cost of each row in tokens, shape [N].
    """

    tokens: Mapping[str, Ragged]
    dense: Mapping[str, np.ndarray]
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each row's text [N], a pair's of both: counted once, however many views of it pass. The cost where there is no text."""
        texts = [self.tokens[name].lengths for name in ("input_ids", "pair_ids") if name in self.tokens]
        return np.minimum(np.sum(texts, axis=0), self.lengths) if texts else self.lengths

    def part(self, start: int, stop: int) -> "Encoded":
        """Some rows that stand together."""
        tokens = {name: held.part(start, stop) for name, held in self.tokens.items()}
        return Encoded(tokens, {name: each[start:stop] for name, each in self.dense.items()}, self.lengths[start:stop])

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as named flat arrays, for keeping."""
        ragged = {f"tokens/{name}/{part}": getattr(held, part) for name, held in self.tokens.items() for part in ("flat", "offsets")}
        return ragged | {f"dense/{name}": array for name, array in self.dense.items()} | {"lengths": self.lengths}

    @classmethod
    def joined(cls, parts: Sequence["Encoded"]) -> "Encoded":
        """Rows of several parts after each other; all have the same columns."""
        first = parts[0]
        tokens = {name: Ragged.joined([part.tokens[name] for part in parts]) for name in first.tokens}
        dense = {name: np.concatenate([part.dense[name] for part in parts]) for name in first.dense}
        return cls(tokens, dense, np.concatenate([part.lengths for part in parts]))

    @classmethod
    def gathered(cls, parts: Iterable["Encoded"]) -> "Encoded":
        """`joined` of one part or more that come one after the other, each let go before the next: all of them are never held twice."""
        held: dict[str, _Growing] = {}
        for part in parts:
            own = {"lengths": part.lengths} | {f"dense/{name}": array for name, array in part.dense.items()}
            own |= {f"flat/{name}": ragged.flat for name, ragged in part.tokens.items()}
            own |= {f"sizes/{name}": ragged.lengths for name, ragged in part.tokens.items()}
            for name, array in own.items():
                held.setdefault(name, _Growing(array)).add(array)
        made = {name: each.whole() for name, each in held.items()}
        sizes = {name.removeprefix("sizes/"): array for name, array in made.items() if name.startswith("sizes/")}
        tokens = {name: Ragged(made[f"flat/{name}"], np.concatenate([[0], np.cumsum(size_N)])) for name, size_N in sizes.items()}
        dense = {name.removeprefix("dense/"): array for name, array in made.items() if name.startswith("dense/")}
        return cls(tokens, dense, made["lengths"])

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Encoded":
        """What `arrays` gave, again."""
        names = {key.split("/")[1] for key in arrays if key.startswith("tokens/")}
        tokens = {name: Ragged(arrays[f"tokens/{name}/flat"], arrays[f"tokens/{name}/offsets"]) for name in sorted(names)}
        # sorted: a file gives its arrays in any order, and a checkpoint knows its rows by their arrays one after the other
        dense = {key.removeprefix("dense/"): arrays[key] for key in sorted(arrays) if key.startswith("dense/")}
        return cls(tokens, dense, arrays["lengths"])


@dataclass(frozen=True)
class Several(Encoded):
    """Rows of several parts after each other, each part encoded in a way of its own; dense column SOURCE tells a row's part.

    tokens, dense and lengths hold what all parts have in common.
    """

    parts: tuple[Encoded, ...] = ()

    def within(self, rows: np.ndarray) -> tuple[int, np.ndarray]:
        """The part that these rows are of (all of one), and their numbers in it."""
        number = int(self.dense[SOURCE][rows[0]])
        return number, rows - sum(map(len, self.parts[:number]))


def boxed(rows: Sequence[Any]) -> np.ndarray:
    """Results of any kind, such as lists of different lengths, as one array [N] of objects."""
    made = np.empty(len(rows), dtype=object)
    made[:] = rows
    return made


def raw(array: np.ndarray) -> memoryview:
    """The bytes of an array, without a copy where it is in one piece."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def column(table: pa.Table, name: str) -> list[Any]:
    """A column as a Python list."""
    values: list[Any] = table.column(name).to_pylist()
    return values


def spell(value: Any) -> str:
    """A label as its name: 1, 1.0 and "1" are the same class."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
