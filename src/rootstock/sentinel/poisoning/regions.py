"""Groups of rows by their vectors: dense regions, what stands out along a label's main direction, and the smaller half of a label.

A label's own rows find a region, but rows of every label that lie in it belong to it: else each would be of one label by its making.
Shape letters: N rows, H width, D dense dimensions.
"""

import warnings
from collections.abc import Iterator

import numpy as np

from rootstock.sentinel.poisoning.groups import Groups, of

_DIMENSIONS, _MOST = 24, 20_000
"""Main directions that density is looked for in: in more all rows are far from one another. Rows from which on a sample is clustered."""
_STANDING_OUT = (0.01, 0.02, 0.05)
_REACH = 90
"""Percentile of a half's own distances that its region reaches to."""
_FEWEST = 20
"""Rows of a label from which on it has directions and halves."""


def regions(vectors_NH: np.ndarray, label_N: np.ndarray, *, least: int, most: int) -> Groups:
    """All of them that hold between `least` and `most` rows."""
    plain_NH = np.asarray(vectors_NH, np.float64)
    found = [*_dense(plain_NH, least), *_by_label(plain_NH, label_N)]
    kept = [each for each in found if least <= len(each[2]) <= most]
    return of([each[0] for each in kept], [each[1] for each in kept], [each[2] for each in kept], len(plain_NH))


def alike(first_N: np.ndarray, *, least: int, most: int) -> Groups:
    """Clusters of near duplicates. first_N: a number that all rows of a cluster share."""
    order, members = np.argsort(first_N, kind="stable"), []
    for rows in np.split(order, np.flatnonzero(np.diff(first_N[order])) + 1) if len(order) else []:
        if least <= len(rows) <= most:
            members.append(rows)
    names = [f"near duplicates {number + 1}" for number in range(len(members))]
    return of(["near duplicates"] * len(members), names, members, len(first_N))


def _main(plain_NH: np.ndarray, dimensions: int) -> np.ndarray:
    """The rows along their main directions."""
    from sklearn.decomposition import PCA

    count = min(dimensions, *plain_NH.shape)
    return np.asarray(PCA(count, random_state=0).fit_transform(plain_NH))


def _dense(plain_NH: np.ndarray, least: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Dense regions (HDBSCAN, Campello et al. 2013): the leaves of its tree, and what it takes for clusters."""
    from sklearn.cluster import HDBSCAN

    taken = np.sort(np.random.default_rng(0).permutation(len(plain_NH))[:_MOST])
    if len(taken) < 4 * least:
        return
    main_ND = _main(plain_NH[taken], _DIMENSIONS)
    for way in ("leaf", "eom"):
        cluster_N = HDBSCAN(min_cluster_size=least, min_samples=least, cluster_selection_method=way, copy=True).fit_predict(main_ND)
        for number in range(int(cluster_N.max(initial=-1)) + 1):
            yield "dense region", f"dense region {way} {number + 1}", taken[cluster_N == number]


def _by_label(plain_NH: np.ndarray, label_N: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Spectral signatures (Tran et al. 2018) and the halves of activation clustering (Chen et al. 2018), both over rows of every label."""
    for label in np.unique(label_N).tolist():
        own_N = label_N == label
        if own_N.sum() < _FEWEST:
            continue
        middle_H = plain_NH[own_N].mean(0)
        direction_H = np.linalg.eigh((plain_NH[own_N] - middle_H).T @ (plain_NH[own_N] - middle_H))[1][:, -1]
        order_N = np.argsort(-np.abs((plain_NH - middle_H) @ direction_H), kind="stable")
        for share in _STANDING_OUT:
            yield "spectral signature", f"the {share:.0%} that stand out by label {label}", order_N[: round(share * len(order_N))]
        yield "activation cluster", f"smaller half of label {label}", _smaller(plain_NH, own_N)


def _smaller(plain_NH: np.ndarray, own_N: np.ndarray) -> np.ndarray:
    """Rows that lie in the smaller of the two clusters of a label."""
    from sklearn.cluster import KMeans

    main_ND = _main(plain_NH, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rows that are all alike
        halves = KMeans(2, n_init=3, random_state=0).fit(main_ND[own_N])
    small = int(np.bincount(halves.labels_, minlength=2).argmin())
    far_N2 = halves.transform(main_ND)
    reach = float(np.percentile(far_N2[own_N][halves.labels_ == small, small], _REACH)) if (halves.labels_ == small).any() else 0.0
    return np.flatnonzero((far_N2.argmin(1) == small) & (far_N2[:, small] <= reach))
