"""N-grams of words that texts share: an index over reference texts, and a batch of others looked up in it.

Words have numbers, so memory is 4 bytes for each word of the references and 16 for each n-gram. A look-up compares 64-bit hashes, and
then the words themselves: nothing is found that is not there.

Shape letters: W words of a batch, R references, E words of all of them, G n-grams of one length, P places in the batch.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np

from rootstock.corpus.letters import UNSPACED, plain

_FACTOR, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


class Hit(NamedTuple):
    """Words of a text that a reference holds too: [start, end), and that reference's owner."""

    start: int
    end: int
    owner: int


class _Grams(NamedTuple):
    """N-grams of one length by their hash: where each begins among all references' words, and its reference's owner, [G] each."""

    hashes: np.ndarray
    starts: np.ndarray
    owners: np.ndarray


_BLANKS = {code: " " for code in range(128) if not chr(code).isalnum()}


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    if text.isascii():
        return text.lower().translate(_BLANKS).split()  # the same, 3 times as quick
    return "\n".join(_WORD.findall(plain(text))).casefold().split()


def spans(text: str) -> list[tuple[int, int]]:
    """Where in a plain text its words stand."""
    return [match.span() for match in _WORD.finditer(text)]


class Index:
    """Reference texts as words, with every n-gram of the long ones and the whole of those of fewer than n words."""

    def __init__(self, texts: Sequence[list[str]], owners: Sequence[int], n: int) -> None:
        self._vocabulary: dict[str, int] = {}
        numbers = (self._vocabulary.setdefault(word, len(self._vocabulary)) for text in texts for word in text)
        self._words_E = np.fromiter(numbers, np.int32)
        self._grams = _by_length(self._words_E, np.array([len(text) for text in texts], np.int64), owners=np.array(owners, np.int32), n=n)
        self._lengths = range(min(self._grams, default=1), max(self._grams, default=0) + 1)

    def hits(self, texts: Sequence[str]) -> list[list[Hit]]:
        """What each text shares with references, in order."""
        numbered = [self._known(words(text)) for text in texts]
        ends = np.cumsum([len(numbers) + 1 for numbers in numbered])
        words_W = np.concatenate([np.empty(0, np.int32), *(np.append(numbers, np.int32(-1)) for numbers in numbered)])
        found: list[list[Hit]] = [[] for _ in texts]
        for start, end, owner in sorted(self._shared(words_W)):
            text = int(np.searchsorted(ends, start, side="right"))
            shift = int(ends[text - 1]) if text else 0
            found[text].append(Hit(start - shift, end - shift, owner))
        return found

    def _known(self, split: list[str]) -> np.ndarray:
        """Numbers of words; -1 for one that no reference holds."""
        return np.fromiter(map(self._vocabulary.get, split, repeat(-1)), np.int32, len(split))

    def _shared(self, words_W: np.ndarray) -> Iterator[Hit]:
        """Every place in a batch where an n-gram of a reference stands, or a whole short one."""
        length_W = _runs(words_W)
        places_P = np.flatnonzero(length_W >= self._lengths.start)
        hash_P = np.zeros(len(places_P), np.uint64)
        for length in range(1, self._lengths.stop):
            inside_P = length_W[places_P] >= length
            places_P, hash_P = places_P[inside_P], hash_P[inside_P]
            hash_P = _longer(hash_P, words_W[places_P + (length - 1)])
            if length in self._grams:
                yield from self._confirmed(words_W, places_P, hash_P=hash_P, length=length)

    def _confirmed(self, words_W: np.ndarray, places_P: np.ndarray, *, hash_P: np.ndarray, length: int) -> Iterator[Hit]:
        """Of the places where a hash is known, those where the words are the same."""
        grams = self._grams[length]
        low_P, high_P = (np.searchsorted(grams.hashes, hash_P, side=side) for side in ("left", "right"))
        for which in np.flatnonzero(high_P > low_P).tolist():
            place = int(places_P[which])
            for gram in range(int(low_P[which]), int(high_P[which])):
                start = int(grams.starts[gram])
                if np.array_equal(words_W[place : place + length], self._words_E[start : start + length]):
                    yield Hit(place, place + length, int(grams.owners[gram]))


def _by_length(words_E: np.ndarray, sizes_R: np.ndarray, *, owners: np.ndarray, n: int) -> dict[int, _Grams]:
    """N-grams of references of these sizes by their number of words: n, or all of a shorter reference's."""
    starts_R = np.cumsum(sizes_R) - sizes_R
    length_E = np.repeat(np.minimum(sizes_R, n), sizes_R)
    left_E = np.repeat(starts_R + sizes_R, sizes_R) - np.arange(len(words_E))
    owner_E = np.repeat(owners, sizes_R)
    places_P = np.flatnonzero(left_E >= length_E)
    hash_P = np.zeros(len(places_P), np.uint64)
    found = {}
    for length in range(1, int(length_E.max(initial=0)) + 1):
        hash_P = _longer(hash_P, words_E[places_P + (length - 1)])
        whole_P = length_E[places_P] == length
        if whole_P.any():
            found[length] = _sorted(hash_P[whole_P], places_P[whole_P], owner_E)
        places_P, hash_P = places_P[~whole_P], hash_P[~whole_P]
    return found


def _sorted(hashes: np.ndarray, starts: np.ndarray, owner_E: np.ndarray) -> _Grams:
    order = np.argsort(hashes, kind="stable")
    return _Grams(hashes[order], starts[order].astype(np.int32), owner_E[starts[order]])


def _longer(hashes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Hashes of n-grams that grow by one word each."""
    mixed: np.ndarray = (hashes ^ (numbers.astype(np.uint64) + np.uint64(1))) * _FACTOR
    mixed ^= mixed >> _SHIFT
    return mixed


def _runs(words_W: np.ndarray) -> np.ndarray:
    """How many known words stand in a row from each place on, [W]."""
    unknown = np.append(np.flatnonzero(words_W < 0), len(words_W))
    places_W = np.arange(len(words_W))
    runs_W: np.ndarray = unknown[np.searchsorted(unknown, places_W)] - places_W
    return runs_W
