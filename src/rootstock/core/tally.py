"""Figures that go by how many rows of each kind there are: whoever draws the same rows a thousand times only counts.

Shape letters: N rows, R sets of rows, K kinds, F figures.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

_ROOM = 1 << 20
"""Rows and counts that are held at a time: 8 MB of each."""


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
        return np.concatenate([self.figures(self._counted(part)) for part in self._parts(iter(sets))])

    def _parts(self, sets: Iterator[np.ndarray]) -> Iterator[list[np.ndarray]]:
        most = max(1, _ROOM // max(self.kinds, len(self.kind)))
        while part := list(islice(sets, most)):
            yield part

    def _counted(self, part: list[np.ndarray]) -> np.ndarray:
        """How many rows of each kind each set has, [R, K]: all counted at once, as kinds of their own."""
        own = [kind_N + place * self.kinds for place, kind_N in enumerate(part)]
        return np.bincount(np.concatenate(own), minlength=len(part) * self.kinds).reshape(len(part), self.kinds)
