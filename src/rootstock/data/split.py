"""Train and validation rows: seeded, stratified, and never the same text on both sides."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.core import rows as canonical
from rootstock.core.errors import DataError

Group = list[int]
"""Places of the rows that share one key."""


def keys(rows: pa.Table) -> list[str]:
    """The normalised text of each row (case folded, blanks collapsed); of a pair, both, in order."""
    texts = [_normal(each) for each in canonical.column(rows, canonical.TEXT)]
    if canonical.PAIR not in rows.column_names:
        return texts
    seconds = [_normal(each) for each in canonical.column(rows, canonical.PAIR)]
    return [f"{first}\t{second}" for first, second in zip(texts, seconds, strict=True)]  # a tab can't be left in either


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def draw(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """`count` rows drawn without replacement, in the order of the file; all of them where there are no more."""
    if count >= rows.num_rows:
        return rows
    chosen = np.random.default_rng(seed).choice(rows.num_rows, count, replace=False)
    return rows.take(pa.array(np.sort(chosen)))


def split(rows: pa.Table, share: float, seed: int, *, stratify: bool) -> tuple[pa.Table, pa.Table]:
    """(train, validation), both in the order of the file; validation holds at most `share` of the rows, rounded.

    Rows of one key stay together. With `stratify` each label gives its share, and each label of two or more keys is in train.
    Raises DataError where too few different texts are there to hold any out.
    """
    if not 0 < share < 1:
        raise DataError(f"data.validation is {share}", wanted="a share in (0, 1), or a file")
    groups = _groups(keys(rows))
    labels = _labels(rows) if stratify else [()] * rows.num_rows
    strata = _strata(groups, labels)
    chosen = _choose(strata, max(1, round(share * rows.num_rows)), rng=np.random.default_rng(seed))
    held = _without_orphans(groups, chosen, labels=labels)
    if not held:
        raise DataError(
            f"{rows.num_rows} rows with {len(groups)} different texts are too few to hold out {share:.0%} of them",
            wanted="more rows, or a larger share",
            fix="give a file of validation rows with --validation FILE",
        )
    mask = np.zeros(rows.num_rows, dtype=bool)
    mask[[place for group in held for place in groups[group]]] = True
    return rows.filter(pa.array(~mask)), rows.filter(pa.array(mask))


def _groups(row_keys: list[str]) -> list[Group]:
    found: dict[str, Group] = {}
    for place, key in enumerate(row_keys):
        found.setdefault(key, []).append(place)
    return list(found.values())


def _labels(rows: pa.Table) -> list[tuple[Any, ...]]:
    """The labels of each row: one, or several, or none."""
    values = canonical.column(rows, canonical.LABEL)
    return [tuple(value) if isinstance(value, list) else (value,) for value in values]


def _strata(groups: list[Group], labels: list[tuple[Any, ...]]) -> list[dict[int, int]]:
    """Group number to its rows, for each label in the order of appearance; a group counts for the rarest label in it."""
    frequency = Counter(label for row in labels for label in row)
    strata: dict[Any, dict[int, int]] = {}
    for number, group in enumerate(groups):
        inside = dict.fromkeys(label for place in group for label in labels[place])
        rarest = min(inside, key=lambda label: frequency[label], default=None)
        strata.setdefault(rarest, {})[number] = len(group)
    return list(strata.values())


def _choose(strata: list[dict[int, int]], wanted: int, *, rng: np.random.Generator) -> list[int]:
    """Groups to hold out: from each stratum, in random order, those that still fit into its quota of rows."""
    chosen = []
    for stratum, quota in zip(strata, _quotas([sum(stratum.values()) for stratum in strata], wanted), strict=True):
        numbers = list(stratum)
        taken = 0
        for index in rng.permutation(len(numbers)).tolist():
            size = stratum[numbers[index]]
            if taken + size <= quota:
                taken += size
                chosen.append(numbers[index])
    return chosen


def _quotas(sizes: list[int], wanted: int) -> list[int]:
    """Rows to hold out of each stratum by largest remainders; never all of it, so that something is left to learn from."""
    ideal = [size * wanted / sum(sizes) for size in sizes]
    quotas = [min(int(each), size - 1) for each, size in zip(ideal, sizes, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda place: quotas[place] - ideal[place])
    for place in by_remainder[: wanted - sum(map(int, ideal))]:
        quotas[place] = min(quotas[place] + 1, sizes[place] - 1)
    return quotas


def _without_orphans(groups: list[Group], chosen: list[int], *, labels: list[tuple[Any, ...]]) -> list[int]:
    """The chosen groups less those that hold the last of a label: contradictory rows can carry one out of sight of its stratum."""
    held = set(chosen)
    left = {label for number, group in enumerate(groups) if number not in held for place in group for label in labels[place]}
    kept = []
    for number in chosen:
        inside = {label for place in groups[number] for label in labels[place]}
        if inside <= left:
            kept.append(number)
        left |= inside
    return kept
