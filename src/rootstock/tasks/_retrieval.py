"""Where a text's partner stands among all others: ranks, the figures that come of them, and what counting words alone gives.

Shape letters: N rows, V texts of a row (an anchor, its positive, and negatives), H width, D different candidates, Q anchors of a part.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

_PART = 512
"""Anchors whose scores exist at once."""
_TOLERANCE = 1e-6
"""By so much fp32 moves a cosine: a candidate that is only so much farther than the positive counts as before it, a tie as a miss."""

FIGURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "ndcg@10": lambda rank_N: np.where(rank_N <= 10, 1 / np.log2(rank_N + 1), 0.0),
    "mrr@10": lambda rank_N: np.where(rank_N <= 10, 1 / rank_N, 0.0),
    "accuracy@1": lambda rank_N: rank_N <= 1,
    "recall@5": lambda rank_N: rank_N <= 5,
    "recall@10": lambda rank_N: rank_N <= 10,
}
"""Of the rank of each row's one positive; where there is one, the ideal gain is 1 and recall is a share of rows."""


class Pool(NamedTuple):
    """All positives and negatives, each text once. places: row and text of each, [D] of N * (V - 1). own: the positive's number, [N]."""

    places: np.ndarray
    own: np.ndarray
    left_out: list[np.ndarray]
    """Of each row, candidates that are neither right nor wrong: the anchor itself, and the positives of equal anchors."""


class Found(NamedTuple):
    """rank: of each row's positive, 1 is the best, [N]. nearest: place of its best candidate, [N]; similarity: of that one, [N]."""

    rank: np.ndarray
    nearest: np.ndarray
    similarity: np.ndarray


def pool(ids_NV: np.ndarray) -> Pool:
    """What is searched; ids_NV: a number for each text, the same for equal texts."""
    known_D, places_D = np.unique(ids_NV[:, 1:].reshape(-1), return_index=True)
    own_N = np.searchsorted(known_D, ids_NV[:, 1])
    of_anchor: dict[int, set[int]] = defaultdict(set)
    for anchor, own in zip(ids_NV[:, 0].tolist(), own_N.tolist(), strict=True):
        of_anchor[anchor].add(own)
    itself_N = np.searchsorted(known_D, ids_NV[:, 0]).clip(max=len(known_D) - 1)
    left_out = []
    for anchor, own, itself in zip(ids_NV[:, 0].tolist(), own_N.tolist(), itself_N.tolist(), strict=True):
        others = of_anchor[anchor] | ({itself} if known_D[itself] == anchor else set())
        left_out.append(np.array(sorted(others - {own}), np.int64))
    return Pool(places_D, own_N, left_out)


def found(scores: Iterator[np.ndarray], searched: Pool) -> Found:
    """Ranks by scores of all candidates, given in parts of rows, [Q, D] each. What scores as high as the positive comes before it."""
    ranks, nearest, similarity, start = list[np.ndarray](), list[np.ndarray](), list[np.ndarray](), 0
    for part in scores:
        scores_QD = np.array(part, np.float32)
        rows_Q = np.arange(len(scores_QD))
        for row, left_out in enumerate(searched.left_out[start : start + len(scores_QD)]):
            scores_QD[row, left_out] = -np.inf
        own_Q = scores_QD[rows_Q, searched.own[start : start + len(scores_QD)]]
        ranks.append((scores_QD >= own_Q[:, None] - _TOLERANCE).sum(1))
        best_Q = scores_QD.argmax(1)
        nearest.append(searched.places[best_Q])
        similarity.append(scores_QD[rows_Q, best_Q])
        start += len(scores_QD)
    return Found(*(np.concatenate(each) for each in (ranks, nearest, similarity)))


def by_cosine(vectors_NVH: np.ndarray, searched: Pool, dimension: int | None = None) -> Found:
    """Ranks by the cosine of vectors, or of their first numbers alone."""
    units_NVH = unit(vectors_NVH[..., :dimension])
    candidates_DH = units_NVH[:, 1:].reshape(-1, units_NVH.shape[-1])[searched.places]
    anchors_NH = units_NVH[:, 0]
    return found((anchors_NH[start : start + _PART] @ candidates_DH.T for start in range(0, len(anchors_NH), _PART)), searched)


def by_words(tokens: list[Any], searched: Pool) -> np.ndarray:
    """Ranks by TF-IDF, [N]; tokens: ids of each text, ragged, first all anchors, then all positives, then the negatives."""
    from scipy import sparse

    anchors, *others = weighed_words(tokens)
    count = len(others)
    candidates = sparse.vstack(others, format="csr")
    rows, views = searched.places // count, searched.places % count
    candidates_T = candidates[views * anchors.shape[0] + rows].T.tocsc()
    parts = ((anchors[start : start + _PART] @ candidates_T).toarray() for start in range(0, anchors.shape[0], _PART))
    return found(parts, searched).rank


def weighed_words(tokens: list[Any]) -> list[Any]:
    """TF-IDF of token ids with length 1, one sparse matrix for each column of texts."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfTransformer

    width = 1 + max((int(each.flat.max(initial=0)) for each in tokens), default=0)
    counts = [sparse.csr_matrix((np.ones(len(each.flat), np.float32), each.flat, each.offsets), (len(each), width)) for each in tokens]
    weigh = TfidfTransformer(sublinear_tf=True).fit(sparse.vstack(counts))
    return [weigh.transform(each) for each in counts]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 in fp32; one of length 0 stays."""
    held = np.asarray(vectors, np.float32)
    made: np.ndarray = held / np.maximum(np.linalg.norm(held, axis=-1, keepdims=True), np.float32(1e-12))
    return made
