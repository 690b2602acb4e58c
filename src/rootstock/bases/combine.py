"""Several models over one base made one: what each changed of the base's weights (its task vector) is combined, and added to the base.

average or sum: Ilharco et al. 2023, https://arxiv.org/abs/2212.04089; TIES: Yadav et al. 2023, https://arxiv.org/abs/2306.01708; DARE:
Yu et al. 2024, https://arxiv.org/abs/2311.03099. All work on whole weights, never on the factors of an update: the factors of two LoRAs
added up are another update than the sum of both. TIES trims a task vector as a whole, as its paper does, not matrix by matrix.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rootstock.core.errors import UsageError
from rootstock.core.settings import Settings

Weights = Mapping[str, Tensor]
DENSITIES = {"ties": 0.2, "dare": 0.5, "dare-ties": 0.5}
"""Share of a task vector that is kept where nobody says how much: TIES's is its paper's; small bases lose by more than half of DARE's."""


class Combination(Settings):
    """How task vectors become one."""

    how: Literal["linear", "ties", "dare", "dare-ties"] = "linear"
    """linear: a weighted sum. ties: trim to the largest, elect a sign for each weight, mean of those that agree. dare: drop at random and
    rescale, then the sum; dare-ties: then sign and mean."""
    weights: tuple[float, ...] = ()
    """One a model. Empty: equal, and 1 in all, which is an average; their sum scales the result."""
    density: float | None = Field(default=None, gt=0, le=1)
    """Share of each task vector that is kept. None: 0.2 for ties, 0.5 for dare."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of what dare drops."""

    def shares(self, count: int) -> list[float]:
        """A weight for each of `count` models; UsageError where there are more or fewer, or where they can't elect a sign."""
        if not self.weights:
            return [1 / count] * count
        if len(self.weights) != count:
            raise UsageError(f"{len(self.weights)} weights for {count} runs", wanted="one a run", fix="give as many, with commas between")
        if self.how.endswith("ties") and min(self.weights) <= 0:
            raise UsageError(f"a weight of {min(self.weights):g} with {self.how}", wanted="weights above 0", fix="use --combine linear")
        if not sum(self.weights):
            raise UsageError("weights that sum to 0", wanted="another sum", fix="leave --weights out for an average")
        return list(self.weights)

    @property
    def kept(self) -> float:
        """Share of each task vector that is kept."""
        return 1.0 if self.how == "linear" else self.density or DENSITIES[self.how]


@torch.no_grad()
def combined(base: Weights, models: Sequence[Weights], how: Combination) -> dict[str, Tensor]:
    """The base with all that the models changed, by name; a model that lacks a tensor did not change it."""
    shares = how.shares(len(models))
    changed = [name for name, held in base.items() if any(name in each and not torch.equal(each[name], held) for each in models)]
    if not changed:
        return dict(base)
    vectors = [torch.cat([(each.get(name, base[name]) - base[name]).flatten().float() for name in changed]) for each in models]
    whole = mixed(vectors, shares, how)
    parts = torch.split(whole, [base[name].numel() for name in changed])
    return {**base, **{name: base[name] + part.view_as(base[name]) for name, part in zip(changed, parts, strict=True)}}


def mixed(vectors: Sequence[Tensor], shares: Sequence[float], how: Combination) -> Tensor:
    """One task vector from several."""
    with torch.random.fork_rng(devices=[]):  # importing peft draws random numbers, too
        from peft.utils import merge_utils

        torch.manual_seed(how.seed)
        if how.kept < 1:
            kind: Literal["magnitude", "random"] = "magnitude" if how.how == "ties" else "random"
            vectors = [merge_utils.prune(each, how.kept, kind, rescale=kind == "random") for each in vectors]
    given = torch.tensor(shares)
    if not how.how.endswith("ties"):
        summed: Tensor = merge_utils.task_arithmetic(list(vectors), given)
        return summed
    weighted = torch.stack([share * each for share, each in zip(shares, vectors, strict=True)])
    agreeing = merge_utils.calculate_majority_sign_mask(weighted)
    # Both means are over as many: what is left is the weighted mean of those that agree.
    weight = merge_utils.disjoint_merge(given[:, None].expand_as(weighted), agreeing)
    mean: Tensor = merge_utils.disjoint_merge(weighted, agreeing) / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    return sum(shares) * mean
