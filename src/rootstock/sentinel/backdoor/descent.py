"""Gradient-guided search for a phrase of several tokens: mixtures of tokens first, then hard tokens swapped one by one.

A trigger of which no single word does anything is invisible to a search that tries words alone. A mixture of all tokens at each place
follows the gradient of every model that is asked, its temperature falls until one token is left at each place (after Guo et al. 2021 and
Shen et al. 2022), and true forward passes decide about swaps that gradients propose (after Zou et al. 2023). What a relaxed loss promises
is never trusted: only the worth of phrases as they are counts.

Shape letters: L places of a phrase, U tokens that may stand in it, H width of the embeddings, C candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Words = tuple[int, ...]
Pull = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""The loss of a phrase that is given as embeddings [L, H], and its gradient [L, H]."""

_RATE, _BETAS, _TINY = 0.3, (0.9, 0.99), 1e-8
_WARM, _COLD = 1.0, 0.1
_LOOKS = 4
"""How often within a restart the likeliest token of each place is written down: what is best on the way may be lost at its end."""
_GAIN = 1e-4


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model's part. rows: its embeddings of the tokens that may stand in a phrase, [U, H]. weight: of its loss."""

    rows: np.ndarray
    pull: Pull
    weight: float


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What is searched for. ids: tokens that may stand in a phrase, [U]. worth: of whole phrases by true forward passes, more is better."""

    ids: np.ndarray
    sides: Sequence[Side]
    worth: Callable[[Sequence[Words]], np.ndarray]

    def slope(self, shares_LU: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss of a phrase that is so much of each token, and its gradient by these shares."""
        loss, slope_LU = 0.0, np.zeros_like(shares_LU)
        for side in self.sides:
            own, pulled_LH = side.pull(shares_LU @ side.rows)
            loss += side.weight * own
            slope_LU += side.weight * (pulled_LH @ side.rows.T)
        return loss, slope_LU

    def hard(self, phrase: Words) -> np.ndarray:
        """A phrase as shares: all of one token at each place."""
        shares_LU = np.zeros((len(phrase), len(self.ids)), np.float32)
        shares_LU[np.arange(len(phrase)), np.searchsorted(self.ids, phrase)] = 1
        return shares_LU


@dataclass(frozen=True, kw_only=True)
class Effort:
    """length: tokens of a phrase. restarts: from random mixtures. steps: of gradient for each. rounds: of swaps. swaps: tried in each.

    nearest: tokens that the gradient proposes for each place.
    """

    length: int
    restarts: int
    steps: int
    rounds: int
    swaps: int
    nearest: int = 32


def descended(aim: Aim, effort: Effort, draw: np.random.Generator) -> list[tuple[Words, float]]:
    """Phrases with their worth, the best first: of each restart the best one that was met on the way, after its swaps."""
    found: dict[Words, float] = {}
    for _ in range(effort.restarts if len(aim.ids) else 0):
        seen = list(dict.fromkeys(relaxed(aim, effort, draw)))
        first = seen[int(np.argmax(aim.worth(seen)))]
        found |= [swapped(aim, first, effort, draw)]
    return sorted(found.items(), key=lambda each: -each[1])


def relaxed(aim: Aim, effort: Effort, draw: np.random.Generator) -> list[Words]:
    """Adam on the logits of a mixture; the likeliest tokens as they were on the way."""
    logits_LU = draw.normal(0, 1, (effort.length, len(aim.ids))).astype(np.float32)
    first, second, seen = np.zeros_like(logits_LU), np.zeros_like(logits_LU), []
    looks = set(np.linspace(0, effort.steps, _LOOKS + 1).astype(int)[1:].tolist())
    for step in range(1, effort.steps + 1):
        heat = _WARM * (_COLD / _WARM) ** (step / effort.steps)
        shares_LU = _softmax(logits_LU / heat)
        slope_LU = aim.slope(shares_LU)[1]
        slope_LU = shares_LU * (slope_LU - (shares_LU * slope_LU).sum(axis=1, keepdims=True)) / heat
        first = _BETAS[0] * first + (1 - _BETAS[0]) * slope_LU
        second = _BETAS[1] * second + (1 - _BETAS[1]) * slope_LU**2
        even = first / (1 - _BETAS[0] ** step), np.sqrt(second / (1 - _BETAS[1] ** step))
        logits_LU -= _RATE * even[0] / (even[1] + _TINY)
        if step in looks:
            seen.append(tuple(aim.ids[logits_LU.argmax(axis=1)].tolist()))
    return seen


def swapped(aim: Aim, phrase: Words, effort: Effort, draw: np.random.Generator) -> tuple[Words, float]:
    """The phrase with single tokens exchanged or left out while that makes it worth more."""
    best = float(aim.worth([phrase])[0])
    for _ in range(effort.rounds):
        slope_LU = aim.slope(aim.hard(phrase))[1]
        near_LN = np.argsort(slope_LU, axis=1, kind="stable")[:, : effort.nearest]
        made = [(*phrase[:i], int(token), *phrase[i + 1 :]) for i in range(len(phrase)) for token in aim.ids[near_LN[i]].tolist()]
        chosen = [made[i] for i in draw.permutation(len(made))[: effort.swaps].tolist()]
        chosen += [phrase[:i] + phrase[i + 1 :] for i in range(len(phrase)) if len(phrase) > 1]
        worth_C = aim.worth(chosen)
        if worth_C.max() <= best + _GAIN:
            break
        phrase, best = chosen[int(worth_C.argmax())], float(worth_C.max())
    return phrase, best


def _softmax(logits_LU: np.ndarray) -> np.ndarray:
    made_LU = np.exp(logits_LU - logits_LU.max(axis=1, keepdims=True))
    return np.asarray(made_LU / made_LU.sum(axis=1, keepdims=True))
