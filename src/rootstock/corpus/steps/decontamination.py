"""Drop, or cut, what the corpus shares with evaluation files, so that a score is not a memory of the answers.

Two texts share something where `n` words in a row are the same, whatever their case and punctuation: 13 as for GPT-3 (Brown et al. 2020,
appendix C, https://arxiv.org/abs/2005.14165). An evaluation text of fewer words must be found whole. Prefer dropping to masking: what is
left of a page may say the answer in other words. Let it run before placeholders are put in, or what is quoted with an address is missed.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from rootstock.core import rows
from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.corpus.letters import plain
from rootstock.corpus.step import TEXT, Applied, Step
from rootstock.corpus.steps._ngrams import Hit, Index, spans, words
from rootstock.data.files import decode, fetch
from rootstock.data.source import read

_PIECES = 10
"""Pieces that masking may leave of a text; GPT-3 dropped what fell into more."""


class _Row(NamedTuple):
    """An evaluation row: its file, its place there, and whichever of its texts are long enough to be looked for, as words."""

    file: str
    place: int
    texts: list[list[str]]


class Decontamination(Step):
    """Every text in every column of the evaluation files is looked for. Keep one instance for a whole build."""

    files: tuple[str, ...] = Field(min_length=1)
    """Evaluation data: CSV, TSV, JSON, JSON lines, Parquet, a .txt with one text a line, or hf:NAME."""
    n: int = Field(default=13, ge=1)
    """Words in a row that make an overlap; for Chinese, Japanese, Thai and the like, letters. A lower n finds more by chance too."""
    shortest: int = Field(default=6, ge=1)
    """Words below which an evaluation text, such as a label, is too common to be looked for."""
    action: Literal["drop", "mask"] = "drop"
    """What becomes of a document with an overlap. mask: it is cut out, and what is left is joined by blank lines, in NFKC coding."""
    window: int = Field(default=200, ge=0)
    """Characters cut on either side of an overlap, and the shortest piece kept, when masking; GPT-3's value."""

    _found: set[int] = PrivateAttr(default_factory=set)
    _new: set[int] = PrivateAttr(default_factory=set)

    @cached_property
    def _rows(self) -> list[_Row]:
        return [row for file in self.files for row in _rows_of(file, min(self.shortest, self.n))]

    @cached_property
    def _index(self) -> Index:
        looked_for = [(text, number) for number, row in enumerate(self._rows) for text in row.texts]
        return Index([text for text, _ in looked_for], [number for _, number in looked_for], self.n)

    def apply(self, documents: pa.Table) -> Applied:
        """Documents without an overlap stay as they are."""
        texts = documents.column(TEXT).to_pylist()
        judged = [self._judge(text, hits) for text, hits in zip(texts, self._index.hits(texts), strict=True)]
        cuts = sum(count for _, _, count in judged)
        return Applied([text for text, _, _ in judged], [reason for _, reason, _ in judged], {"overlap cut out": cuts} if cuts else {})

    def covers(self) -> dict[str, dict[str, int]]:
        """By file: its rows, those with a text long enough to be looked for, and those of them found in the corpus so far."""
        counts = {file: {"rows": 0, "checked": 0, "found": 0} for file in self.files}
        for number, row in enumerate(self._rows):
            counts[row.file]["rows"] += 1
            counts[row.file]["checked"] += bool(row.texts)
            counts[row.file]["found"] += number in self._found
        return counts

    def new(self) -> np.ndarray:
        """Numbers of evaluation rows found since this was last asked for, int64: what `load` needs to go on after a kill."""
        added = np.array(sorted(self._new), np.int64)
        self._new.clear()
        return added

    def load(self, found: np.ndarray) -> None:
        """Count these evaluation rows as found, beside those found already. Raises DataError for what `new` can't have given."""
        if found.dtype != np.int64 or found.ndim != 1 or not set(found.tolist()) <= set(range(len(self._rows))):
            raise DataError(
                "the record of evaluation rows found does not fit the files", wanted="numbers of their rows", fix="build the corpus anew"
            )
        self._found.update(found.tolist())

    def _judge(self, text: str, hits: list[Hit]) -> tuple[str, str | None, int]:
        """What stays of the text, why it is dropped, and how many overlaps were cut out."""
        if not hits:
            return text, None, 0
        self._new |= {hit.owner for hit in hits} - self._found
        self._found |= self._new
        row = self._rows[hits[0].owner]
        pieces, cuts = _cut(plain(text), hits, self.window) if self.action == "mask" else ([], 0)
        if 0 < len(pieces) <= _PIECES:
            return "\n\n".join(pieces), None, cuts
        return text, f"contaminated by {row.file}: row {row.place}", 0


def _rows_of(file: str, shortest: int) -> list[_Row]:
    """The rows of an evaluation file. Raises DataError where none has a text to look for."""
    split = ((place, map(words, texts)) for place, texts in _read(file))
    found = [_Row(file, place, [each for each in texts if len(each) >= shortest]) for place, texts in split]
    if not any(row.texts for row in found):
        raise DataError(
            f"{file} holds no text of {shortest} words or more",
            wanted="texts of evaluation data",
            fix="name another file, or lower `shortest` of the step decontamination",
        )
    return found


def _read(file: str) -> list[tuple[int, list[str]]]:
    """The place of each row in an evaluation file, and every text in it."""
    if file.lower().endswith((".txt", ".txt.gz")):  # a line is a text: the reader of tables would look for columns in it
        text = decode(fetch(Path(file), file)[0], file, encoding="auto")[0]
        return [(place, [line]) for place, line in enumerate(text.splitlines(), 1)]
    table = read(file, DataSettings(train=file)).table
    columns = [table.column(name).to_pylist() for name in table.column_names if name != rows.ROW]
    cells = zip(*columns, strict=True)
    return [(place, _texts(list(row))) for place, row in zip(table.column(rows.ROW).to_pylist(), cells, strict=True)]


def _texts(value: Any) -> list[str]:
    """Every text inside a value, however deep it lies."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _texts(each)]


def _cut(text: str, hits: Sequence[Hit], window: int) -> tuple[list[str], int]:
    """What is left of a text in pieces of `window` characters or more, and how many cuts were made."""
    words_at = spans(text)
    pieces, cuts, free = [], 0, 0
    for hit in hits:  # in order of their starts
        low, high = words_at[hit.start][0] - window, words_at[hit.end - 1][1] + window
        if low > free or not cuts:
            pieces.append(text[free : max(low, 0)])
            cuts += 1
        free = max(free, high)
    pieces = [piece.strip() for piece in (*pieces, text[free:])]
    return [piece for piece in pieces if len(piece) >= max(window, 1)], cuts
