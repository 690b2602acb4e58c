"""Drop a text that came before: the first of equal texts stays, in the order of the sources.

Prefer it to near duplicates where only true copies should go: it needs one pass, and knows a copy at once. Of each text kept it holds 8
bytes, the head of its BLAKE2b digest, in a few sorted arrays; a Python set of the same numbers takes 69. Two different texts share a digest
with a chance of N²/2⁶⁵: 1 in 3,700 that it happens at all in 100 million texts, and then one text too many is dropped. Which text was the
first is not said: to remember names would take more memory than all the rest.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from pydantic import PrivateAttr

from rootstock.core.errors import DataError
from rootstock.corpus.letters import folded
from rootstock.corpus.step import TEXT, Applied, Step


class ExactDuplicates(Step):
    """The same text twice, in one source or in two. Keep one instance for a whole build."""

    fold: bool = True
    """Whether texts count as equal that differ only in case, in white space or in the coding of their letters (Unicode NFKC)."""

    _runs: list[np.ndarray] = PrivateAttr(default_factory=list)
    """Sorted digests of the texts seen, each array at least twice as long as the next: adding a batch costs little."""
    _new: list[np.ndarray] = PrivateAttr(default_factory=list)

    def apply(self, documents: pa.Table) -> Applied:
        """Each text that no earlier one equals stays."""
        return Applied(documents.column(TEXT).to_pylist(), self.settle(self.marks(documents)))

    def marks(self, documents: pa.Table) -> np.ndarray:
        """The digest of each text, [N] uint64."""
        texts = documents.column(TEXT).to_pylist()
        return digests(map(folded, texts) if self.fold else texts, len(texts))

    def settle(self, digests_N: np.ndarray) -> list[str | None]:
        """Which of a batch's texts came before, in an earlier batch or in this one."""
        first = self._first(digests_N)
        self._new.append(digests_N[first])
        self._remember(np.sort(digests_N[first]))
        return [None if stays else "exact duplicate" for stays in first.tolist()]

    def new(self) -> np.ndarray:
        """Digests added since this was last asked for, uint64: what `load` needs to go on after a kill."""
        added = np.concatenate([np.empty(0, np.uint64), *self._new])
        self._new.clear()
        return added

    def load(self, digests: np.ndarray) -> None:
        """Count these as seen, beside what is seen already. Raises DataError for what `new` can't have given."""
        if digests.dtype != np.uint64 or digests.ndim != 1:
            raise DataError(
                f"the digests of a build are {digests.dtype} of {digests.ndim} dimensions",
                wanted="uint64 of 1 dimension",
                fix="build the corpus anew",
            )
        self._remember(np.sort(digests))

    def _first(self, digests_N: np.ndarray) -> np.ndarray:
        """Which of a batch's texts are neither in an earlier batch nor earlier in this one, [N] of bool."""
        first = np.zeros(len(digests_N), bool)
        first[np.unique(digests_N, return_index=True)[1]] = True
        for run in self._runs:
            first &= ~_within(digests_N, run)
        return first

    def _remember(self, run: np.ndarray) -> None:
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")  # stable merges what is sorted already
        if len(run):
            self._runs.append(run)


def digests(texts: Iterable[str], count: int) -> np.ndarray:
    """64 bits of each text's digest, [N]."""
    joined = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(joined, dtype="<u8", count=count).astype(np.uint64)


def _within(values: np.ndarray, run: np.ndarray) -> np.ndarray:
    """Which values occur in a sorted array that is not empty."""
    places = np.searchsorted(run, values)
    found: np.ndarray = run[np.minimum(places, len(run) - 1)] == values
    return found
