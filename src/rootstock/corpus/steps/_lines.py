"""Counts that the quality rules share: lines, paragraphs, what repeats, and word n-grams.

A line or an n-gram repeats where the same one came before: the first is the original, so where everything stands twice, half of it repeats.
Characters of n-grams are those of their words, without the blanks between; one that lies in several n-grams counts once.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

END_MARKS = (".", "!", "?", '"', "”", "“", "»", "。", "！", "？", "」", "।", "؟", "۔", "։", "።", "။")
"""What ends a sentence: Raffel et al.'s period, exclamation and question mark and end quotation mark, and their equals in other scripts."""

ELLIPSES = ("...", "…")

UNSPACED = frozenset(("bo", "dz", "ja", "km", "lo", "my", "th", "zh"))
"""Languages written without blanks between words: splitting at blanks says nothing about their words."""

_GAPS = re.compile(r"\n\s*\n")


class Repeats(NamedTuple):
    """The share of parts, and of their characters, that came before."""

    parts: float
    characters: float


def lines(text: str) -> list[str]:
    """The lines that hold something, without the blanks around them."""
    return _filled(text.split("\n"))


def paragraphs(text: str) -> list[str]:
    """What blank lines part."""
    return _filled(_GAPS.split(text))


def _filled(parts: Sequence[str]) -> list[str]:
    return [stripped for part in parts if (stripped := part.strip())]


def share(part: float, whole: float) -> float:
    """A part of a whole; 0 of nothing."""
    return part / whole if whole else 0.0


def repeats(parts: Sequence[str]) -> Repeats:
    """How much of the parts came before. The same text has the same length, so counting those that differ is enough."""
    originals = set(parts)
    characters = sum(map(len, parts))
    return Repeats(share(len(parts) - len(originals), len(parts)), share(characters - sum(map(len, originals)), characters))


class Grams(NamedTuple):
    """The n-grams of a text: for each start the number of its n-gram, and for each n-gram where it comes first and how often it comes."""

    size: int
    numbers: NDArray[np.int64]
    first: NDArray[np.int64]
    counts: NDArray[np.int64]


def grams(words: Sequence[str], sizes: range) -> Iterator[Grams]:
    """The n-grams of these sizes, as long as some repeat: where none of n words does, none of more can.

    Each is numbered by the number of its first n - 1 words and of its last word, so that no two are ever taken for one (as hashes would).
    """
    known: dict[str, int] = {}
    singles = np.array([known.setdefault(word, len(known)) for word in words], np.int64)
    numbers = singles
    for size in range(2, min(sizes.stop, len(words) + 1)):
        pairs = numbers[:-1] * len(known) + singles[size - 1 :]
        _, first, numbers, counts = np.unique(pairs, return_index=True, return_inverse=True, return_counts=True)
        if len(first) == len(pairs):
            return
        if size in sizes:
            yield Grams(size, numbers, first, counts)


def lengths(words: Sequence[str]) -> NDArray[np.int64]:
    """Characters of each word."""
    return np.fromiter(map(len, words), np.int64, len(words))


def top_share(found: Grams, sizes: NDArray[np.int64]) -> float:
    """Share of characters within the most frequent n-gram; of equally frequent ones, the longest."""
    ends = np.concatenate(([0], np.cumsum(sizes)))
    often = np.flatnonzero(found.counts == found.counts.max())
    starts = found.first[often]
    chosen = often[np.argmax(ends[starts + found.size] - ends[starts])]
    return _covered(found.numbers == chosen, found.size, sizes)


def repeated_share(found: Grams, sizes: NDArray[np.int64]) -> float:
    """Share of characters within n-grams that came before."""
    starts = np.ones(len(found.numbers), bool)
    starts[found.first] = False
    return _covered(starts, found.size, sizes)


def _covered(starts: NDArray[np.bool_], size: int, sizes: NDArray[np.int64]) -> float:
    """Share of characters in the words that an n-gram from one of the starts reaches: those with a start at most n - 1 words before."""
    begun = np.cumsum(np.concatenate((starts, np.zeros(size - 1, bool))))
    before = np.concatenate((np.zeros(size, np.int64), begun[:-size]))
    return share(int(sizes[begun > before].sum()), int(sizes.sum()))
