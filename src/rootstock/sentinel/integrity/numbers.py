"""Statistics of a tensor in one pass: what is no number, what never varies, how large it is."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log, nan, sqrt
from statistics import median
from typing import Any

import numpy as np

from rootstock.sentinel.integrity.tensors import Stored

_LAYERS = 4
"""Sisters, at least, that a tensor is compared with."""
_APART = 10.0
"""Times larger or smaller than the median of its sisters in other layers."""


@dataclass(frozen=True)
class Statistics:
    """Of the finite numbers of one tensor; nan where there is none. largest: of absolute values."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nans: int
    infinite: int
    least: float
    most: float
    mean: float
    deviation: float
    zeros: int

    @property
    def constant(self) -> bool:
        """More than one number, and all are the same."""
        return self.least == self.most and not self.nans and not self.infinite and int(np.prod(self.shape)) > 1

    @property
    def matrix(self) -> bool:
        """Two dimensions or more that are longer than one."""
        return sum(length > 1 for length in self.shape) > 1

    def as_json(self) -> dict[str, Any]:
        """All figures; null where there is none."""
        figures = {key: getattr(self, key) for key in ("least", "most", "mean", "deviation")}
        counts = {key: getattr(self, key) for key in ("dtype", "nans", "infinite", "zeros")}
        return {"name": self.name, "shape": list(self.shape), **counts, **{k: v if np.isfinite(v) else None for k, v in figures.items()}}


def of(tensor: Stored) -> Statistics:
    """Read it once, in blocks; sums in float64 about the first finite number, or a far mean would swallow the deviation."""
    nans = infinite = zeros = count = 0
    least, most, shift, total, squares = inf, -inf, None, 0.0, 0.0
    for _, raw in tensor.blocks():
        block = raw.ravel()
        if tensor.floating:
            fine = np.isfinite(block)
            if not fine.all():
                nans += int(np.isnan(block).sum())
                infinite += int(np.isinf(block).sum())
                block = block[fine]
        if not block.size:
            continue
        count, zeros = count + block.size, zeros + int(block.size - np.count_nonzero(block))
        least, most = min(least, float(block.min())), max(most, float(block.max()))
        shift = float(block[0]) if shift is None else shift
        with np.errstate(over="ignore", invalid="ignore"):
            apart = block.astype(np.float64) - shift
            total, squares = total + float(apart.sum()), squares + float(np.dot(apart, apart))
    if not count:
        return Statistics(tensor.name, tensor.dtype, tensor.shape, nans, infinite, nan, nan, nan, nan, 0)
    mean = total / count
    deviation = sqrt(max(0.0, squares / count - mean * mean)) if squares < inf else inf
    return Statistics(tensor.name, tensor.dtype, tensor.shape, nans, infinite, least, most, mean + (shift or 0.0), deviation, zeros)


def unlike_their_sisters(every: Iterable[Statistics]) -> list[str]:
    """Matrices whose deviation is far from that of the same matrix in the other layers, which is the family's usual range."""
    families: dict[str, list[Statistics]] = defaultdict(list)
    for each in every:
        if each.matrix and 0 < each.deviation < inf:
            families[re.sub(r"(?<=\.)\d+(?=\.)", "*", each.name)].append(each)
    found = []
    for sisters in families.values():
        if len(sisters) >= _LAYERS:
            usual = median(each.deviation for each in sisters)
            for each in sisters:
                if abs(log(each.deviation / usual)) > log(_APART):
                    found.append(f"{each.name} varies by {each.deviation:.3g}, its sisters in {len(sisters)} layers by {usual:.3g}")
    return found
