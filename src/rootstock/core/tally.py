"""Figures of many sets of rows at once, each set told by how often it holds each row: a resample of N rows is N counts.

What figures are made of are sums over rows, so the sums of a thousand sets are one product of counts and values, and no row is read twice.

Shape letters: N rows, R sets of rows, K values of a row, G groups of rows, F figures.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from rootstock.core.rows import Columns

Held = TypeVar("Held")


@dataclass(frozen=True, eq=False)
class Tally:
    """Named figures [F], and what makes them of counts [R, N]: [R, F], NaN where a set does not define one.

    go_by: how many rows a figure goes by, where these are not all: a class's recall goes by the rows of that class.
    above: by how much a figure of few rows may lie above the truth, as a mean of distances does: its interval reaches so much lower.
    """

    names: tuple[str, ...]
    rows: int
    of: Callable[[np.ndarray], np.ndarray]
    go_by: Mapping[str, int] = field(default_factory=dict)
    above: Mapping[str, float] = field(default_factory=dict)

    def whole(self) -> dict[str, float]:
        """The figures of all rows, each of them once; those that they do not define are left out."""
        if not self.rows:
            return {}
        found = zip(self.names, self.of(np.ones((1, self.rows)))[0].tolist(), strict=True)
        return {name: value for name, value in found if np.isfinite(value)}


def tally(
    names: Collection[str],
    figures: Mapping[str, Callable[[Held], np.ndarray]],
    held: Callable[[np.ndarray], Held],
    *,
    rows: int,
    go_by: Mapping[str, int] | None = None,
    above: Mapping[str, float] | None = None,
) -> Tally | None:
    """The named figures, each [R] of what all of them share, which `held` makes of counts; None where one of them is not among these."""
    if not figures.keys() >= set(names):
        return None

    def of(counts_RN: np.ndarray) -> np.ndarray:
        shared = held(counts_RN)
        return np.stack([figures[name](shared) for name in names], axis=1) if names else np.empty((len(counts_RN), 0))

    return Tally(tuple(names), rows, of, go_by or {}, above or {})


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients; NaN where there is nothing to divide by."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    found: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def mean(counts_RN: np.ndarray, values_N: np.ndarray) -> np.ndarray:
    """That of the values in each set, [R]; NaN of a set without rows."""
    return ratio(counts_RN @ np.asarray(values_N, np.float64), counts_RN.sum(1))


@dataclass(frozen=True, eq=False)
class Sums:
    """What sets of rows hold together of columns [N] or [N, K], by counts [R, N]: of a name [R] or [R, K]."""

    columns: Columns
    times: np.ndarray
    _known: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self, name: str) -> np.ndarray:
        """Of the column of this name."""
        if name not in self._known:
            self._known[name] = self.times @ np.asarray(self.columns[name], np.float64)
        return self._known[name]

    def share(self, above: str, below: str) -> np.ndarray:
        """One by another; NaN where there is nothing of it."""
        return ratio(self(above), self(below))

    def mean(self, name: str) -> np.ndarray:
        """Over the rows of each set."""
        return ratio(self(name), self.times.sum(1))


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows that share a number from 0 on, [N], laid side by side once so that sums of counts need no search. count: how many there are."""

    order: np.ndarray
    starts: np.ndarray
    present: np.ndarray
    count: int

    @classmethod
    def of(cls, group_N: np.ndarray, count: int) -> "Groups":
        """By the number of each row; a row with one below 0 is in none."""
        order = np.argsort(group_N, kind="stable")
        order = order[np.searchsorted(group_N[order], 0) :]
        present, starts = np.unique(group_N[order], return_index=True)
        return cls(order, starts, present, count)

    def sums(self, values_RN: np.ndarray) -> np.ndarray:
        """What each group holds of the values of its rows, [R, G]; 0 where it has no row."""
        found_RG = np.zeros((len(values_RN), self.count))
        if len(self.order):
            found_RG[:, self.present] = np.add.reduceat(values_RN[:, self.order], self.starts, axis=1)
        return found_RG
