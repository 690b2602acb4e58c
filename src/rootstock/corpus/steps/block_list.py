"""Drop documents that hold words or phrases from a list of the user's own.

A list is a text file with one word or phrase a line; lines that begin with # are comments. Case, coding and blanks make no difference, and
a word is found only whole: "ass" is not in "class". Letters of scripts that put no blanks between words are found anywhere.
Each text is read once, however long the list is (Aho and Corasick 1975, https://doi.org/10.1145/360825.360855).
"""

import re
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from rootstock.core.errors import DataError
from rootstock.core.modules import needed
from rootstock.corpus.letters import UNSPACED, folded
from rootstock.corpus.step import Judged, TextStep
from rootstock.data.files import decode, fetch

_UNSPACED = re.compile(f"[{UNSPACED}]")


class BlockList(TextStep):
    """A document goes if one list is hit `least` times or more, and if its hits make up `share` of the document's words."""

    files: tuple[str, ...] = Field(min_length=1)
    """Lists of words and phrases, UTF-8, packed with gzip or not. A document is judged by each list alone."""
    least: int = Field(default=1, ge=1)
    """Hits that drop a document; one hit counts as often as it occurs, and of two that overlap one counts."""
    share: float = Field(default=0.0, ge=0, le=1)
    """Smallest share of the document's words that must be hits, beside `least`: 0.01 spares a long text with one bad word."""

    @cached_property
    def _lists(self) -> list[tuple[str, Any]]:
        """Name and automaton of each list."""
        return [(Path(file).name, _automaton(entries(file))) for file in self.files]

    def judge(self, text: str) -> Judged:
        """The text as it is, dropped by the first list that it breaks."""
        plain = folded(text)
        total = plain.count(" ") + 1
        for name, automaton in self._lists:
            hits, words = _hits(plain, automaton)
            if hits >= self.least and words >= self.share * total:
                return Judged(text, f"on the block list {name}")
        return Judged(text)


def entries(file: str) -> list[str]:
    """The words and phrases of a list, as they are looked for. Raises DataError where there are none."""
    path = Path(file)
    if not path.is_file():
        raise DataError(
            f"there is no block list {file}", wanted="a text file with one word or phrase a line", fix="check the name given for the list"
        )
    lines = decode(fetch(path, file)[0], file, encoding="auto")[0].splitlines()
    found = {folded(line) for line in lines if not line.lstrip().startswith("#")} - {""}
    if not found:
        raise DataError(
            f"the block list {file} holds comments only", wanted="one word or phrase a line", fix="add some, or leave the list out"
        )
    return sorted(found)


def _automaton(found: list[str]) -> Any:
    """All entries in one machine, each with its length in letters and in words."""
    automaton = needed("ahocorasick", "a block list").Automaton()
    for entry in found:
        automaton.add_word(entry, (len(entry), entry.count(" ") + 1))
    automaton.make_automaton()
    return automaton


def _hits(text: str, automaton: Any) -> tuple[int, int]:
    """Entries that stand in the text as whole words, none overlapping another, and how many words they make up."""
    hits = words = free = 0
    for last, (length, count) in automaton.iter(text):
        start = last + 1 - length
        if start >= free and _edge(text, start - 1, start) and _edge(text, last, last + 1):
            hits, words, free = hits + 1, words + count, last + 1
    return hits, words


def _edge(text: str, left: int, right: int) -> bool:
    """Whether a word may end between two neighbouring letters."""
    if left < 0 or right >= len(text):
        return True
    pair = text[left] + text[right]
    return not _wordlike(text[left]) or not _wordlike(text[right]) or bool(_UNSPACED.search(pair))


def _wordlike(letter: str) -> bool:
    """Whether a letter is part of a word, accents that follow their letter included."""
    return letter.isalnum() or letter == "_" or unicodedata.combining(letter) > 0
