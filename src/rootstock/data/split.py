"""Train and validation rows: seeded, stratified, and never the same text on both sides.

Shape letters: N rows, G groups of rows with one key, P pairs of a group and a label that occurs in it.
"""

from collections.abc import Hashable, Iterable

import numpy as np
import pyarrow as pa

from rootstock.core import rows as canonical
from rootstock.core.artifact import digest_bytes
from rootstock.core.errors import DataError
from rootstock.core.rows import raw

_TEXTS = (canonical.TEXT, canonical.PAIR)


def keys(rows: pa.Table) -> list[str]:
    """The normalised text of each row (case folded, blanks collapsed); of a pair, both, in order, and what there is to choose from.

    Of images a digest.
    """
    if canonical.PIXELS in rows.column_names:
        return [digest_bytes(raw(picture)) for picture in rows.column(canonical.PIXELS).combine_chunks().to_numpy_ndarray()]
    parts = [[_normal(each) for each in canonical.column(rows, name)] for name in _TEXTS if name in rows.column_names]
    if canonical.CHOICES in rows.column_names:
        parts.append(["\t".join(map(_normal, each or [])) for each in canonical.column(rows, canonical.CHOICES)])
    return ["\t".join(each) for each in zip(*parts, strict=True)]  # a tab can't be left in any


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def draw(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """`count` rows drawn without replacement, in the order of the file; all of them where there are no more."""
    if count >= rows.num_rows:
        return rows
    chosen = np.random.default_rng(seed).choice(rows.num_rows, count, replace=False)
    return rows.take(pa.array(np.sort(chosen)))


def split(rows: pa.Table, share: float, seed: int, *, stratify: bool, together: str | None = None) -> tuple[pa.Table, pa.Table]:
    """(train, validation), both in the order of the file; validation holds at most `share` of the rows, rounded.

    Rows of one key stay together; where `together` names a column that there is, rows that are equal in it.
    With `stratify` each label gives its share, and each label of two or more keys is in train.
    Raises DataError where too few different texts are there to hold any out.
    """
    if not 0 < share < 1:
        raise DataError(f"data.validation is {share}", wanted="a share in (0, 1), or a file")
    if not rows.num_rows:
        raise DataError("there are no rows to split", wanted="rows of two different texts or more")
    group_N = _codes(map(_normal, canonical.column(rows, together)) if together and together in rows.column_names else keys(rows))
    sizes_G = np.bincount(group_N)
    group_P, label_P = _pairs(rows, group_N) if stratify else (group_N, np.zeros_like(group_N))
    stratum_G = _strata(group_P, label_P, count=len(sizes_G))
    wanted = max(1, round(share * rows.num_rows))
    held_G = _choose(stratum_G, sizes_G, wanted=wanted, rng=np.random.default_rng(seed))
    _give_back_orphans(held_G, group_P, label_P=label_P)
    if not held_G.any():
        raise DataError(
            f"the rows are too few to hold any out: {rows.num_rows} with {len(sizes_G)} different texts",
            wanted="more rows, or a larger share; copies of a text stay together, and each label keeps a text to learn from",
            fix="check the columns (--text, --label), or give a file of validation rows with --validation FILE",
        )
    mask_N = held_G[group_N]
    return rows.filter(pa.array(~mask_N)), rows.filter(pa.array(mask_N))


def _codes(values: Iterable[Hashable]) -> np.ndarray:
    """Numbers for values, in the order of first appearance."""
    known: dict[Hashable, int] = {}
    return np.asarray([known.setdefault(value, len(known)) for value in values], dtype=np.int64)


def _pairs(rows: pa.Table, group_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group and label number of each label of each row: one label a row, or a list of them."""
    values = canonical.column(rows, canonical.LABEL)
    if not any(isinstance(value, list) for value in values):
        return group_N, _codes(values)
    lists = [value or [None] for value in values]
    return np.repeat(group_N, [len(value) for value in lists]), _codes(label for value in lists for label in value)


def _strata(group_P: np.ndarray, label_P: np.ndarray, *, count: int) -> np.ndarray:
    """The label each group counts for, shape [G]: the rarest in it, so that rare labels get their share."""
    frequency_P = np.bincount(label_P)[label_P]
    order = np.lexsort((label_P, frequency_P, group_P))
    stratum_G = np.empty(count, dtype=np.int64)
    stratum_G[group_P[order][::-1]] = label_P[order][::-1]  # written last, the rarest stays
    return stratum_G


def _choose(stratum_G: np.ndarray, sizes_G: np.ndarray, *, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Which groups to hold out, shape [G]: of each stratum, in random order, those that still fit into its quota of rows."""
    held_G = np.zeros(len(sizes_G), dtype=bool)
    rows = np.bincount(stratum_G, weights=sizes_G).astype(np.int64)
    order = np.argsort(stratum_G, kind="stable")
    strata = np.split(order, np.cumsum(np.bincount(stratum_G))[:-1])
    for groups, quota in zip(strata, _quotas(rows, wanted).tolist(), strict=True):
        shuffled = rng.permutation(groups)
        held_G[shuffled[_fitting(sizes_G[shuffled], quota)]] = True
    return held_G


def _fitting(sizes: np.ndarray, quota: int) -> list[int]:
    """Places of the sizes taken, one after the other, wherever the next still fits into the quota."""
    if sizes.max(initial=1) == 1:
        return list(range(min(quota, len(sizes))))
    chosen = []
    for place, size in enumerate(sizes.tolist()):
        if size <= quota:
            quota -= size
            chosen.append(place)
    return chosen


def _quotas(rows: np.ndarray, wanted: int) -> np.ndarray:
    """Rows to hold out of each stratum by largest remainders; never all of it, so that something is left to learn from."""
    ideal = rows * (wanted / max(rows.sum(), 1))
    quotas: np.ndarray = np.floor(ideal).astype(np.int64)
    most_left = np.argsort(quotas - ideal, kind="stable")[: wanted - int(quotas.sum())]
    quotas[most_left] += 1
    np.minimum(quotas, np.maximum(rows - 1, 0), out=quotas)
    return quotas


def _give_back_orphans(held_G: np.ndarray, group_P: np.ndarray, *, label_P: np.ndarray) -> None:
    """Return to train one group of each label that lost all: beside a rarer label it can slip out of its own stratum."""
    for label in np.setdiff1d(label_P, label_P[~held_G[group_P]]).tolist():
        groups = group_P[label_P == label]
        if held_G[groups].all():
            held_G[groups[0]] = False
