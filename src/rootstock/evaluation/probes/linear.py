"""A linear probe: multinomial logistic regression on frozen vectors, how strongly held back chosen on rows of its own.

Shape letters: N rows, H width, C classes, G groups of rows that belong together.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rootstock.core.rows import Columns
from rootstock.evaluation import intervals

L2 = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Half the weight of the squared coefficients beside the mean loss, the strongest first: each start is the solution before."""
_STEPS = 60


@dataclass(frozen=True)
class Part:
    """Some rows: vectors [N, H], labels [N], and groups [N], the sentence or document of each; intervals resample these."""

    vectors: Tensor
    labels: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Probe:
    """A fitted probe. loss, accuracy: on the dev rows that chose `l2`."""

    middle: Tensor
    spread: Tensor
    weights: Tensor
    bias: Tensor
    l2: float
    loss: float = math.inf
    accuracy: float = 0.0

    @property
    def dev(self) -> dict[str, float]:
        """How it was chosen, as JSON."""
        return {"loss": self.loss, "accuracy": self.accuracy, "l2": self.l2}

    def logits(self, vectors_NH: Tensor) -> Tensor:
        """[N, C]."""
        return functional.linear((vectors_NH - self.middle) / self.spread, self.weights, self.bias)

    def judged(self, dev: Part) -> "Probe":
        """The same with its figures on the dev rows."""
        loss = functional.cross_entropy(self.logits(dev.vectors), torch.from_numpy(dev.labels).long())
        return replace(self, loss=float(loss), accuracy=float(self.right(dev).mean()))

    def right(self, part: Part) -> np.ndarray:
        """Whether each row is answered right, [N]."""
        return np.asarray(self.logits(part.vectors).argmax(1).numpy() == part.labels)


def fit(train: Part, dev: Part, classes: int) -> Probe:
    """The strongest-held probe first, then weaker ones until the loss on the dev rows rises; the one before is kept.

    The loss is convex, so nothing is drawn: equal rows give an equal probe.
    """
    middle_H, spread_H = train.vectors.mean(0), train.vectors.std(0).clamp_min(1e-6)
    scaled_NH, labels_N = (train.vectors - middle_H) / spread_H, torch.from_numpy(train.labels).long()
    weights_CH, bias_C = torch.zeros(classes, scaled_NH.shape[1]), torch.zeros(classes)
    best: Probe | None = None
    for l2 in L2:
        weights_CH, bias_C = _solve(scaled_NH, labels_N, (weights_CH, bias_C), l2)
        found = Probe(middle_H, spread_H, weights_CH, bias_C, l2).judged(dev)
        if best is not None and found.loss >= best.loss:
            break
        best = found
    assert best is not None
    return best


def _solve(vectors_NH: Tensor, labels_N: Tensor, start: tuple[Tensor, Tensor], l2: float) -> tuple[Tensor, Tensor]:
    """The minimum of the mean cross-entropy + l2 / 2 · Σ weights², from a start."""
    weights_CH, bias_C = (each.clone().requires_grad_() for each in start)
    optimizer = torch.optim.LBFGS(
        [weights_CH, bias_C], max_iter=_STEPS, tolerance_grad=1e-4, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Any:
        optimizer.zero_grad()
        value = functional.cross_entropy(functional.linear(vectors_NH, weights_CH, bias_C), labels_N) + l2 / 2 * weights_CH.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights_CH.detach(), bias_C.detach()


def shares(right: dict[str, np.ndarray], group_N: np.ndarray, *, seed: int, less: tuple[str, str, str] | None = None) -> dict[str, Any]:
    """Each share of right rows with its 95 % interval, by a bootstrap over groups: rows of a sentence are no independent draws.

    less: (name, a, b) adds the difference a - b under a name; both are taken on the same resamples, so their rows must be the same.
    """
    groups, back = np.unique(group_N, return_inverse=True)
    columns: Columns = {name: np.bincount(back, each.astype(float), len(groups)) for name, each in right.items()}
    columns = {**columns, "rows": np.bincount(back, minlength=len(groups)).astype(float)}

    def figures(chosen: Columns, names: Collection[str] | None) -> dict[str, float]:
        found = {name: float(chosen[name].sum() / chosen["rows"].sum()) for name in right}
        return found | ({less[0]: found[less[1]] - found[less[2]]} if less else {})

    whole = figures(columns, None)
    drawn_RF = intervals.draws(columns, figures, names=list(whole), seed=seed)
    found = {}
    for (name, value), drawn_R in zip(whole.items(), drawn_RF.T, strict=True):
        ends = intervals.interval(drawn_R, value, len(groups), within=(0.0, 1.0) if name in right else None)
        found[name] = {"value": value, "interval": list(ends or (-1.0, 1.0))}
    return found
