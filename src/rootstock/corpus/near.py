"""Near duplicates: candidates by banding, verified by what they really have in common, joined to clusters of which one document stays.

    signed = np.concatenate([signatures(part, settings) for part in parts])  # or row by row into one array: half the memory
    first = merged(candidates(signed, settings), text_of, settings, count=len(signed))
    kept = first == np.arange(len(signed))

Only signatures and pairs are held, and at most the shingles of 1,024 texts. All results are the same on every machine and for every
size of the parts. Prefer this to exact duplicates where pages differ in a date, a counter or a line of navigation.

Shapes: N documents, M members of buckets, B buckets, Q pairs (two places of documents each, the smaller first, sorted, each pair once).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rootstock.core.errors import UsageError
from rootstock.corpus.minhash import Near, odd, ranges, shingles, signatures

__all__ = ["Near", "candidates", "clusters", "merged", "signatures", "similarities", "verified"]

TextOf = Callable[[np.ndarray], Sequence[str]]
"""The texts of documents, given their places in ascending order."""

_FULL, _WINDOW = 64, 16
"""A bucket of up to 64 members gives all its pairs. In a larger one each member meets the first and the 16 next to it, or the pairs of a
page that occurs 100,000 times would fill the memory; the order differs from band to band, so that all find their like in some."""
_MEMBERS, _COMPARED, _WAITING, _VERIFIED, _READ = 1 << 14, 1 << 14, 1 << 20, 512, 64
"""Members paired, signatures compared, candidates collected, pairs verified and texts read at a time: what bounds the memory."""


def candidates(signatures: np.ndarray, settings: Near) -> np.ndarray:
    """Pairs that may be duplicates, [Q, 2]: they agree in a band, and in about as many numbers as the threshold lets expect.

    A pair at the threshold is missed with a probability of at most settings.missed, unless it only ever meets in buckets of more than 64
    members. Of those not each pair is found, and no formula says how many; their clusters came out whole wherever it was tried.
    """
    bands, rows = settings.banding
    count, width = signatures.shape
    if width != bands * rows:
        raise UsageError(f"signatures of {width} numbers", wanted=f"{bands * rows}", fix="make them with the same settings")
    found, least = _Places(), settings.agreeing
    key_N = _keys(signatures[:, :rows])
    for band in range(bands):
        after = (band + 1) % bands * rows
        next_N = _keys(signatures[:, after : after + rows])
        for pairs in _colliding(key_N, next_N):
            found.add(_agreeing(pairs, signatures, least) @ np.array([count, 1]))
        key_N = next_N
    return np.stack(np.divmod(found.all(), max(count, 1)), axis=1)


def similarities(pairs: np.ndarray, text_of: TextOf, settings: Near) -> np.ndarray:
    """The Jaccard similarity of the sets of shingles of each pair, [Q]; reads only the texts of the pairs, and few at a time.

    Shingles are compared by 64-bit hashes: two different ones of a pair with a million each are taken for one in a case of 10 million.
    """
    found_Q = np.empty(len(pairs))
    # pairs of a cluster come together, so that its texts are read once or twice
    order = np.lexsort((pairs[:, 1], pairs[:, 0], clusters(pairs, int(pairs.max(initial=-1)) + 1)[pairs[:, 0]]))
    for start in range(0, len(pairs), _VERIFIED):
        chunk = order[start : start + _VERIFIED]
        sets = _sets(_distinct(pairs[chunk].ravel()), text_of, settings.words)
        found_Q[chunk] = [_jaccard(sets[left], sets[right]) for left, right in pairs[chunk].tolist()]
    return found_Q


def verified(pairs: np.ndarray, text_of: TextOf, settings: Near) -> np.ndarray:
    """The pairs that are duplicates: their similarity reaches the threshold."""
    kept: np.ndarray = pairs[similarities(pairs, text_of, settings) >= settings.threshold]
    return kept


def clusters(pairs: np.ndarray, count: int) -> np.ndarray:
    """The smallest member of each document's cluster, [count]: of all that pairs join, directly or through others."""
    links = coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    label_N = connected_components(links, directed=False)[1] if count else np.empty(0, dtype=np.int32)
    first, place_N = np.unique(label_N, return_index=True, return_inverse=True)[1:]
    smallest: np.ndarray = first[place_N]
    return smallest


def merged(pairs: np.ndarray, text_of: TextOf, settings: Near, *, count: int) -> np.ndarray:
    """clusters(verified(pairs)), [count], without reading what changes nothing: pairs that others have joined already.

    A template of 64 pages has 2,016 pairs, of which 63 are verified.
    """
    kept, label_N = pairs[:0], np.arange(count)
    while len(pairs):
        chosen = np.unique(pairs[:, 1], return_index=True)[1]
        kept = np.concatenate([kept, verified(pairs[chosen], text_of, settings)])
        label_N = clusters(kept, count)
        pairs = np.delete(pairs, chosen, axis=0)
        pairs = pairs[label_N[pairs[:, 0]] != label_N[pairs[:, 1]]]
    return label_N


class _Places:
    """A set of numbers, merged when as many wait as are known: a pair in all bands takes the memory of two."""

    def __init__(self) -> None:
        self.parts, self.known, self.waiting = [np.empty(0, dtype=np.int64)], 0, 0

    def add(self, places: np.ndarray) -> None:
        self.parts.append(places)
        self.waiting += len(places)
        if self.waiting > max(self.known, _WAITING):
            self.all()

    def all(self) -> np.ndarray:
        """All of them, sorted."""
        self.parts = [_distinct(np.concatenate(self.parts))]
        self.known, self.waiting = len(self.parts[0]), 0
        return self.parts[0]


def _distinct(values: np.ndarray) -> np.ndarray:
    """The different values, sorted; np.unique (numpy 2.4) takes 2 times as long for 100 and 50 times for a million."""
    ordered = np.sort(values)
    kept: np.ndarray = ordered[np.concatenate([np.ones(min(len(ordered), 1), dtype=bool), ordered[1:] != ordered[:-1]])]
    return kept


def _keys(signatures: np.ndarray) -> np.ndarray:
    """One hash of the rows of a band, [N] uint64."""
    key_N = np.zeros(len(signatures), dtype=np.uint64)
    for row, factor in enumerate(odd(signatures.shape[1])):
        key_N += signatures[:, row] * factor
    return key_N


def _colliding(key_N: np.ndarray, next_N: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of documents with the same key, a block at a time; those with the same next key too stand beside one another."""
    order = np.argsort(key_N)
    same = key_N[order[1:]] == key_N[order[:-1]]
    place_M = order[np.concatenate([same, [False]]) | np.concatenate([[False], same])] if len(order) else order
    place_M = place_M[np.lexsort((place_M, next_N[place_M], key_N[place_M]))]
    start_B = np.flatnonzero(np.concatenate([[True], np.diff(key_N[place_M]) != 0])) if len(place_M) else place_M
    size_B = np.diff(np.append(start_B, len(place_M)))
    size_M, end_M = np.repeat(size_B, size_B), np.repeat(start_B + size_B, size_B)
    partners_M = np.minimum(end_M - np.arange(len(place_M)) - 1, np.where(size_M > _FULL, _WINDOW, _FULL))
    for start in range(0, len(place_M), _MEMBERS):
        members = np.arange(start, min(start + _MEMBERS, len(place_M)))
        right = ranges(members + 1, partners_M[members])
        yield _sorted_pairs(place_M[np.repeat(members, partners_M[members])], place_M[right])
    if (size_B > _FULL).any():
        hub_M = np.repeat(np.minimum.reduceat(place_M, start_B), size_B)
        others = (size_M > _FULL) & (hub_M != place_M)
        yield _sorted_pairs(hub_M[others], place_M[others])


def _sorted_pairs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1)


def _agreeing(pairs: np.ndarray, signatures: np.ndarray, least: int) -> np.ndarray:
    """The pairs whose signatures agree in so many numbers."""
    kept = []
    for start in range(0, len(pairs), _COMPARED):
        chunk = pairs[start : start + _COMPARED]
        shared = np.count_nonzero(signatures[chunk[:, 0]] == signatures[chunk[:, 1]], axis=1)
        kept.append(chunk[shared >= least])
    return np.concatenate([pairs[:0], *kept])


def _sets(places: np.ndarray, text_of: TextOf, words: int) -> dict[int, np.ndarray]:
    """The different shingles of each document, sorted."""
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(places), _READ):
        chunk = places[start : start + _READ]
        hashes, edges = shingles(text_of(chunk), words)
        for place, first, last in zip(chunk.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            found[place] = _distinct(hashes[first:last])
    return found


def _jaccard(left: np.ndarray, right: np.ndarray) -> float:
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
