"""Pre-trained encoders with task-agnostic backdoors: a planted token makes the pooled output of any text the same vector.

Such an encoder betrays whatever classifier is trained on it (POR, NeuBA). Every usable token is put into a few short texts; the statistic
is the mean cosine between the pooled outputs of different texts that hold it. Some tokens press on the output in every encoder: what
counts is the excess over a reference encoder, measured again on texts that chose nothing.
Shape letters: N texts, H width, C carriers, V tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rootstock.core.errors import UsageError
from rootstock.core.seed import stream

Encode = Callable[[Sequence[Sequence[int]]], np.ndarray]
"""Pooled outputs [N, H] of texts given as token ids, without those that every text gets before and behind it."""
CARRIERS, CONFIRMING = 4, 16
"""Texts that a token is tried in, and others that what was found is measured on."""
_FIRST = 12
_CONTROLS = 64
_LONGEST = 12
"""Tokens of a carrier: what one token among few can't do it can't among many."""
_CHUNK = 512
EXCESS = 0.5
"""Share of the way from the natural cosine to 1 above which a token counts as found; docs/security.md has what clean encoders reach."""


@dataclass(frozen=True)
class Collapse:
    """One token. cosine: of texts that hold it. reference: the same in the reference encoder.

    excess: how much of the way from the natural cosine to 1 it goes. Natural is the most of this token in the reference, and of whatever
    token presses most there.
    """

    token: int
    cosine: float
    reference: float | None
    excess: float


@dataclass(frozen=True, kw_only=True)
class Collapsed:
    """What was found, the largest excess first. usual: mean cosine of texts that hold a random token. natural: the most in the reference.

    verdict: evidence found, weak evidence (there was no reference), or none found at this budget.
    """

    verdict: str
    tried: int
    usual: float
    natural: float | None
    top: tuple[Collapse, ...]

    @property
    def found(self) -> tuple[Collapse, ...]:
        """Tokens whose excess is above the limit."""
        return tuple(each for each in self.top if each.excess >= EXCESS)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def collapsed(
    encode: Encode, texts: Sequence[Sequence[int]], tokens: Sequence[int], *, reference: Encode | None = None, seed: int = 0
) -> Collapsed:
    """Which tokens make any text's pooled output the same.

    texts: at least 20 different ones as token ids, without those around each text. tokens: that may stand in a text. reference: an encoder
    of the same tokenizer that is trusted; without one natural pressure can't be told from a planted one, and the verdict is weak at most.
    Raises UsageError where there are too few texts.
    """
    different = list(dict.fromkeys(tuple(text)[:_LONGEST] for text in texts if len(text) > 2))
    if len(different) < CARRIERS + CONFIRMING:
        wanted = f"at least {CARRIERS + CONFIRMING} of 3 tokens or more"
        raise UsageError(f"{len(different)} different texts", wanted=wanted, fix="give more rows with --data")
    order = stream(seed, "sentinel", "encoder").permutation(len(different))
    carriers, confirming = ([different[i] for i in part] for part in (order[:CARRIERS], order[CARRIERS : CARRIERS + CONFIRMING]))
    many = np.asarray(tokens, np.int64)
    mine_V = pressures(encode, carriers, many)
    theirs_V = pressures(reference, carriers, many) if reference else np.zeros(len(many))
    chosen = many[np.argsort(theirs_V - mine_V, kind="stable")[:_FIRST]]
    held = _confirmed(encode, confirming, chosen, seed)
    natural, own = None, None
    if reference:
        rivals = many[np.argsort(-theirs_V, kind="stable")[:_FIRST]]
        natural, own = float(_confirmed(reference, confirming, rivals, seed).max()), _confirmed(reference, confirming, chosen, seed)
    others = np.setdiff1d(many, chosen)
    controls = _confirmed(encode, confirming, others[stream(seed, "sentinel", "controls").permutation(len(others))[:_CONTROLS]], seed)
    usual = float(np.median(controls))
    found = [
        Collapse(
            int(token), float(cosine), None if own is None else float(own[i]), _excess(float(cosine), _rival(own, natural, controls, i))
        )
        for i, (token, cosine) in enumerate(zip(chosen, held, strict=True))
    ]
    found.sort(key=lambda each: -each.excess)
    over = bool(found) and found[0].excess >= EXCESS
    verdict = ("evidence found" if reference else "weak evidence") if over else "none found at this budget"
    return Collapsed(verdict=verdict, tried=len(many), usual=usual, natural=natural, top=tuple(found))


def _excess(cosine: float, rival: float) -> float:
    return (cosine - rival) / max(1.0 - rival, 1e-6)


def _rival(own: np.ndarray | None, natural: float | None, controls: np.ndarray, place: int) -> float:
    if own is None or natural is None:
        return float(controls.max())
    return max(float(own[place]), natural)


def pressures(encode: Encode, carriers: Sequence[Sequence[int]], tokens: np.ndarray) -> np.ndarray:
    """The mean cosine [V] between the carriers' outputs with each token in their middle."""
    found = np.empty(len(tokens))
    step = max(1, _CHUNK // len(carriers))
    for first in range(0, len(tokens), step):
        part = tokens[first : first + step]
        bodies = [_with(carrier, int(token), len(carrier) // 2) for carrier in carriers for token in part]
        found[first : first + len(part)] = alike(encode(bodies).reshape(len(carriers), len(part), -1))
    return found


def _confirmed(encode: Encode, texts: Sequence[Sequence[int]], tokens: np.ndarray, seed: int) -> np.ndarray:
    """The same on other texts, at places drawn for each text and the same for every token."""
    draw = stream(seed, "sentinel", "places")
    places = [int(draw.integers(0, len(text) + 1)) for text in texts]
    bodies = [_with(text, int(token), place) for text, place in zip(texts, places, strict=True) for token in tokens]
    return alike(encode(bodies).reshape(len(texts), len(tokens), -1))


def alike(outputs_CVH: np.ndarray) -> np.ndarray:
    """Mean cosine [V] over all pairs of carriers."""
    count = len(outputs_CVH)
    unit = outputs_CVH / np.maximum(np.linalg.norm(outputs_CVH, axis=2, keepdims=True), 1e-12)
    return np.asarray((np.square(np.linalg.norm(unit.sum(0), axis=1)) - count) / (count * (count - 1)))


def _with(text: Sequence[int], token: int, place: int) -> tuple[int, ...]:
    return (*text[:place], token, *text[place:])
