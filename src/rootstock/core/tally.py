"""Figures that go by how many rows of each kind there are: whoever draws the same rows a thousand times only counts.

Shape letters: N rows, R sets of rows, K kinds, F figures.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

_ROOM = 1 << 20
"""Counts that are held at a time: 8 MB."""


@dataclass(frozen=True, eq=False)
class Tally:
    """The kind of each row [N], as the class that it is of and the one that it was given, and what makes figures [R, F] of counts [R, K].

    A figure that the rows do not define is NaN.
    """

    kind: np.ndarray
    kinds: int
    figures: Callable[[np.ndarray], np.ndarray]

    def of(self, sets: Iterable[np.ndarray]) -> np.ndarray:
        """The figures of each of these sets of rows, given as the rows' kinds, [R, F]."""
        counted = (np.bincount(kind_N, minlength=self.kinds) for kind_N in sets)
        return np.concatenate([self.figures(counts_RK) for counts_RK in self._parts(counted)])

    def _parts(self, counted: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while part := list(islice(counted, max(1, _ROOM // self.kinds))):
            yield np.stack(part)
