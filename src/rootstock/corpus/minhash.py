"""MinHash: a short row of numbers that says what share of its shingles a text has in common with any other.

Two texts agree in a number of their signatures with a probability that is their Jaccard similarity (Broder 1997). Nothing is drawn: the
same text has the same signature in every batch, on every machine, in every version of numpy.

Shapes: N texts, W words, S shingles, P permutations.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationInfo, field_validator
from scipy.special import bdtr

from rootstock.core.settings import Settings
from rootstock.corpus.letters import UNSPACED
from rootstock.data.tables import strings

_CHARACTERS = 1 << 19
"""Text hashed at a time: its shingles fit in a core's cache, and the calls into numpy are few."""
_LONG = 64
"""Characters from which on a word is no word, and is not remembered."""
_MOST_WORDS = 64
_UNSPACED = re.compile(f"[{UNSPACED}\U00020000-\U0003fffd]")
"""Thai, Lao, Burmese, Khmer, Kana and Han: written without blanks, so that each character counts as a word."""


class Near(Settings):
    """What counts as a near duplicate, and how surely each is found."""

    threshold: float = Field(default=0.8, ge=0.1, le=1)
    """Share of their different shingles that two texts have in common from which on they count as duplicates, 0.1 to 1. 0.8 is what most
    published corpora were cleaned with; the others of these settings follow from it."""
    words: int = Field(default=5, ge=1, le=_MOST_WORDS)
    """Words in a row that make a shingle, 1 to 64. Five in a row are rarely the same by chance, in boilerplate at most; three find more
    among short texts. A text of fewer words is one shingle."""
    missed: float = Field(default=1e-4, gt=0, lt=1)
    """Probability that a pair right at the threshold is not found, above 0 and below 1; one more alike is missed far more rarely."""
    permutations: int | None = Field(default=None, ge=1, le=4096, validate_default=True)
    """Most numbers a signature may have, 1 to 4096, 4 bytes each; as many are used as fill whole bands. Left out, 128 from a threshold of
    0.75 on and 256 below. More cost time and memory, and fewer pairs are read in vain: for a million documents at 0.5 take 1024."""

    @field_validator("permutations")
    @classmethod
    def _enough(cls, permutations: int | None, info: ValidationInfo) -> int | None:
        if not {"threshold", "missed"} <= info.data.keys():
            return permutations  # these have errors of their own
        least = _bands(info.data["threshold"], 1, info.data["missed"])
        if _most(permutations, info.data["threshold"]) < least:
            raise ValueError(f"{least} or more, for this threshold and missed")
        return permutations

    @property
    def banding(self) -> tuple[int, int]:
        """(bands, rows of each): a pair is a candidate where it agrees in all rows of a band.

        A pair of similarity s agrees in a band of r rows with probability s^r, and in none of b bands with (1 - s^r)^b. More rows make
        fewer candidates in vain: r is the largest for which the b with (1 - threshold^r)^b <= missed / 2 fits into the permutations.
        """
        most, rows = _most(self.permutations, self.threshold), 1
        while (rows + 1) * _bands(self.threshold, rows + 1, self.missed) <= most:
            rows += 1
        return _bands(self.threshold, rows, self.missed), rows

    @property
    def width(self) -> int:
        """Numbers in a signature."""
        bands, rows = self.banding
        return bands * rows

    @property
    def agreeing(self) -> int:
        """Least numbers in which the signatures of a candidate agree: at the threshold fewer have a probability of at most missed / 2."""
        below = bdtr(np.arange(self.width, dtype=np.float64), self.width, self.threshold)
        return int(np.count_nonzero(below <= self.missed / 2))


def signatures(texts: Sequence[str], settings: Near) -> np.ndarray:
    """Signatures of N texts, [N, settings.width] uint32. Raises DataError for a text that is no valid Unicode."""
    parts = [_sign(part, settings) for part in _portions(texts)]
    return np.concatenate([np.empty((0, settings.width), dtype=np.uint32), *parts])


def shingles(texts: Sequence[str], words: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the shingles of N texts, one after the other, [S] uint64, and where those of each text begin, [N + 1].

    Words are what blanks part, in lower case. A text of fewer words than a shingle has one shingle of all its words, an empty one too.
    """
    word_W, held_N = _words(texts)
    room_N = np.maximum(held_N, words)
    start_N = np.cumsum(room_N) - room_N
    # a short text is filled up with zeros, which no word has: it never meets a longer one
    room_W = np.zeros(int(room_N.sum()), dtype=np.uint64)
    room_W[ranges(start_N, held_N)] = word_W
    mixed_W = np.zeros(max(len(room_W) - words + 1, 0), dtype=np.uint64)
    for place, factor in enumerate(odd(words)):
        mixed_W += room_W[place : place + len(mixed_W)] * factor
    count_N = room_N - words + 1
    return mix(mixed_W[ranges(start_N, count_N)]), np.concatenate([[0], np.cumsum(count_N)])


def mix(values: np.ndarray) -> np.ndarray:
    """Well spread 64-bit hashes of 64-bit numbers: the last step of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


@lru_cache(maxsize=8)
def odd(count: int) -> np.ndarray:
    """Odd numbers that look drawn, [count] uint64; the first are the same for every count."""
    numbers = mix(np.arange(count, dtype=np.uint64)) | np.uint64(1)
    numbers.flags.writeable = False
    return numbers


def ranges(start_N: np.ndarray, count_N: np.ndarray) -> np.ndarray:
    """The numbers from each start on, as many as its count, in a row."""
    before_N = np.cumsum(count_N) - count_N
    found: np.ndarray = np.arange(int(count_N.sum())) + np.repeat(start_N - before_N, count_N)
    return found


def _most(permutations: int | None, threshold: float) -> int:
    return permutations or (128 if threshold >= 0.75 else 256)


def _bands(threshold: float, rows: int, missed: float) -> int:
    """Fewest bands in all of which a pair at the threshold is missed with a probability of at most missed / 2."""
    share = max(threshold**rows, 1e-300)
    return 1 if share == 1 else math.ceil(math.log(missed / 2) / math.log1p(-share))


def _portions(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in parts of about as many characters."""
    held_N = np.cumsum([len(text) + 1 for text in texts]) // _CHARACTERS
    edges = [0, *(np.flatnonzero(np.diff(held_N)) + 1).tolist(), len(texts)]
    return (texts[start:end] for start, end in pairwise(edges) if end > start)


def _sign(texts: Sequence[str], settings: Near) -> np.ndarray:
    """Of each permutation the smallest number that it gives a shingle of a text.

    A permutation is a·h + b modulo 2^32 with a odd: one to one, and nearly min-wise independent on hashes (Bohman, Cooper and Frieze 2000).
    In 32 bits it is about three times as fast as modulo a prime in 64; two shingles of one text rarely meet in them.
    """
    hashes, edges = shingles(texts, settings.words)
    hash_S = (hashes >> np.uint64(32)).astype(np.uint32)
    factor_P, shift_P = (odd(2 * settings.width) >> np.uint64(16)).astype(np.uint32).reshape(2, -1)
    least_PN = np.empty((len(factor_P), len(texts)), dtype=np.uint32)
    moved_S = np.empty_like(hash_S)
    for factor, shift, least_N in zip(factor_P | np.uint32(1), shift_P, least_PN, strict=True):
        np.multiply(hash_S, factor, out=moved_S)
        np.add(moved_S, shift, out=moved_S)
        np.minimum.reduceat(moved_S, edges[:-1], out=least_N)
    return np.ascontiguousarray(least_PN.T)


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all words in a row, [W] uint64, and how many each text has, [N]."""
    # not arrow's utf8_split_whitespace: in 26.0 it reads past the end of a last text that ends with a blank
    split = pc.split_pattern(strings([" ".join(_apart(text).split()) for text in texts], "a text", pa.large_string()), " ")
    coded = split.flatten().dictionary_encode()
    known = coded.dictionary.to_pylist()
    code_W = coded.indices.to_numpy(zero_copy_only=False)
    # arrow finds an empty word in an empty text
    real_W = np.asarray([bool(word) for word in known], dtype=bool)[code_W]
    before_W = np.concatenate([[0], np.cumsum(real_W)])
    hash_K = np.frombuffer(b"".join(map(_digest, known)), dtype="<u8").astype(np.uint64)
    return hash_K[code_W[real_W]], np.diff(before_W[split.offsets.to_numpy()])


def _apart(text: str) -> str:
    """Lower case, with blanks around each character of a script that has none between words."""
    low = text.lower()
    return low if low.isascii() else _UNSPACED.sub(r" \g<0> ", low)


def _digest(word: str) -> bytes:
    return _remembered(word) if len(word) < _LONG else _hashed(word)


def _hashed(word: str) -> bytes:
    return blake2b(word.encode(), digest_size=8).digest()


_remembered = lru_cache(maxsize=1 << 17)(_hashed)
"""Most words of a text were in the one before."""
