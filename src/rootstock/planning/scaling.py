"""Loss as a function of size and tokens, and what it says about a budget.

L(N, D) = E + A / N^alpha + B / D^beta, with N parameters, D tokens and C = 6 N D floating-point operations: Hoffmann et al. 2022,
arXiv:2203.15556, approach 3. `scaling_fit` finds the law of a set of runs.

Shape letters: R resamples, 5 the law's figures in the order of FIGURES. A law's last axis is the 5, whatever stands before it: one law is
[5], and the functions here take the draws [R, 5] as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rootstock.core.errors import UsageError

FIGURES = ("A", "B", "E", "alpha", "beta")
ASKED = ("flops", "parameters", "tokens")
_MOST = 1e40


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law and how sure it is. law_5: the best. draws: laws of resampled points, [R, 5], none where they are not known.

    objective: summed Huber loss of log L. agreeing: how many of the `starts` ended at the lowest value found. flops, parameters: smallest
    and largest among the points. notes: what to know before trusting it.
    """

    law_5: np.ndarray
    draws: np.ndarray
    objective: float
    points: int
    starts: int
    agreeing: int
    flops: tuple[float, float]
    parameters: tuple[float, float]
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The fit as JSON; `of` reads it."""
        return {
            "law": dict(zip(FIGURES, self.law_5.tolist(), strict=True)),
            "intervals": dict(zip(FIGURES, intervals(self.draws), strict=True)),
            "objective": self.objective,
            "points": self.points,
            "starts": self.starts,
            "agreeing": self.agreeing,
            "resamples": len(self.draws),
            "flops": list(self.flops),
            "parameters": list(self.parameters),
            "notes": list(self.notes),
            "draws": self.draws.tolist(),
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any], name: str) -> "Fit":
        """What `facts` gave. Raises UsageError for anything else; name: of the file, for the message."""
        try:
            law_5 = np.array([float(facts["law"][each]) for each in FIGURES])
            draws = np.array(facts["draws"], dtype=float).reshape(-1, 5)
            (least, most), (smallest, largest) = facts["flops"], facts["parameters"]
            if not ((law_5 > 0).all() and np.isfinite(law_5).all() and (draws > 0).all() and np.isfinite(draws).all()):
                raise ValueError
            return cls(
                law_5=law_5,
                draws=draws,
                objective=float(facts["objective"]),
                points=int(facts["points"]),
                starts=int(facts["starts"]),
                agreeing=int(facts["agreeing"]),
                flops=(float(least), float(most)),
                parameters=(float(smallest), float(largest)),
                notes=tuple(map(str, facts["notes"])),
            )
        except (KeyError, TypeError, ValueError):
            wanted = "scaling.json as `rootstock scaling fit` wrote it"
            raise UsageError(f"{name} holds no fit of a scaling law", wanted=wanted, fix="make the fit again") from None


PUBLISHED = Fit(
    law_5=np.array([482.00572, 2085.43420, 1.81686, 0.34781, 0.36585]),
    draws=np.empty((0, 5)),
    objective=0.0010186,
    points=240,
    starts=0,
    agreeing=0,
    flops=(1.4e18, 1.3e22),
    parameters=(5.7e7, 1.6e10),
)
"""The refit of Besiroglu et al. 2024, arXiv:2404.10102, to Chinchilla's runs (web text, one tokenizer). Its standard errors are of
each figure alone, and the figures move together, so it gives no intervals here."""


def expected(law_5: np.ndarray, parameters: Any, tokens: Any) -> np.ndarray:
    """L(N, D) in nats a token; the law's leading axes broadcast against sizes and tokens."""
    A, B, E, alpha, beta = np.moveaxis(law_5, -1, 0)
    loss: np.ndarray = E + A * parameters**-alpha + B * tokens**-beta
    return loss


def optimum(law_5: np.ndarray, flops: Any) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and tokens of the lowest loss that so many operations buy: N = G (C / 6)^(beta / (alpha + beta)), D = C / 6N."""
    *_, alpha, beta = np.moveaxis(law_5, -1, 0)
    parameters = _balance(law_5) * (flops / 6) ** (beta / (alpha + beta))
    return parameters, flops / 6 / parameters


def plan(fit: Fit, *, flops: float | None = None, parameters: float | None = None, tokens: float | None = None) -> dict[str, Any]:
    """A size and a number of tokens with the loss to expect, as JSON.

    One of flops, parameters and tokens gives the compute-optimal plan that has it; two give the plan that they fix, and `best` is the
    optimal one of the same flops. Intervals (95 %) come from the fit's draws: of what the law chose, and of the loss of this very plan.
    Raises UsageError for none, all three, or a value out of range.
    """
    given = zip(ASKED, (flops, parameters, tokens), strict=True)
    held = {name: float(value) for name, value in given if value is not None}
    _check(held)
    with np.errstate(over="ignore", invalid="ignore"):  # a draw may go astray; intervals() looks
        chosen, drawn = _resolve(fit.law_5, held), _resolve(fit.draws, held)
        best = _resolve(fit.law_5, {"flops": float(chosen["flops"])})
        losses_R = expected(fit.draws, chosen["parameters"], chosen["tokens"])
    free = {name: values for name, values in drawn.items() if len(held) == 1 and name not in held}
    bounds = intervals(np.stack([*free.values(), losses_R], axis=-1))
    return {
        **_told(fit, chosen),
        "intervals": dict(zip([*free, "loss"], bounds, strict=True)),
        "optimal": len(held) == 1,
        "best": _told(fit, best),
        "notes": [*fit.notes, *_beyond(fit, float(chosen["flops"]))],
    }


def intervals(draws_RF: np.ndarray, level: float = 0.95) -> list[list[float] | None]:
    """The middle `level` of each column; None where there are no draws, or where an end is no number."""
    if not len(draws_RF):
        return [None] * draws_RF.shape[1]
    ends_F2 = np.quantile(draws_RF, [(1 - level) / 2, (1 + level) / 2], axis=0).T
    return [ends_2.tolist() if np.isfinite(ends_2).all() else None for ends_2 in ends_F2]


def _balance(law_5: np.ndarray) -> np.ndarray:
    """G = (alpha A / beta B)^(1 / (alpha + beta))."""
    A, B, _, alpha, beta = np.moveaxis(law_5, -1, 0)
    balance: np.ndarray = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return balance


def _resolve(law_5: np.ndarray, held: Mapping[str, float]) -> dict[str, np.ndarray]:
    """All of a plan from the one or two of ASKED that are held."""
    flops = _flops(law_5, held)
    parameters, _ = optimum(law_5, flops)
    if "parameters" in held:
        parameters = np.full_like(parameters, held["parameters"])
    elif len(held) == 2:
        parameters = flops / 6 / held["tokens"]
    tokens = np.full_like(parameters, held["tokens"]) if "tokens" in held else flops / 6 / parameters
    return {"flops": flops, "parameters": parameters, "tokens": tokens, "tokens_per_parameter": tokens / parameters}


def _flops(law_5: np.ndarray, held: Mapping[str, float]) -> np.ndarray:
    """The operations of a plan; where a size or a number of tokens stands alone, those for which it is optimal."""
    *_, alpha, beta = np.moveaxis(law_5, -1, 0)
    if "flops" in held:
        found = held["flops"]
    elif len(held) == 2:
        found = 6 * held["parameters"] * held["tokens"]
    elif "parameters" in held:
        found = 6 * (held["parameters"] / _balance(law_5)) ** ((alpha + beta) / beta)
    else:
        found = 6 * (held["tokens"] * _balance(law_5)) ** ((alpha + beta) / alpha)
    return np.broadcast_to(found, alpha.shape)


def _told(fit: Fit, chosen: Mapping[str, np.ndarray]) -> dict[str, float]:
    loss = expected(fit.law_5, chosen["parameters"], chosen["tokens"])
    return {**{name: float(value) for name, value in chosen.items()}, "loss": float(loss)}


def _check(held: Mapping[str, float]) -> None:
    if len(held) not in (1, 2):
        raise UsageError(
            f"found {'none' if not held else 'all three'} of --flops, --parameters and --tokens",
            wanted="one of them for the best plan that has it, or two for the loss to expect",
        )
    for name, value in held.items():
        if not 1 <= value <= _MOST:
            raise UsageError(f"--{name} is {value:g}", wanted=f"a number from 1 to {_MOST:g}")


def _beyond(fit: Fit, flops: float) -> list[str]:
    """A word where the plan lies outside what was fitted."""
    least, most = fit.flops
    if least / 1.01 <= flops <= most * 1.01:
        return []
    far = f"{flops / most:,.3g} times the largest" if flops > most else f"{least / flops:,.3g} times below the smallest"
    return [f"{flops:.3g} FLOPs are {far} run of the fit: an interval covers the fit's spread, not a law that bends out there"]
