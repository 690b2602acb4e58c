"""Was the probe's proposal worth following? Arms of a comparison that freeze as it says, that freeze as many blocks at random, and none.

Shape letters: R resamples, S seeds.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rootstock.core.errors import UsageError
from rootstock.core.seed import stream
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Difference, Drawn, difference
from rootstock.verbs import probe

RANDOM = 5
FULL, PROPOSED = "full", "probe"


def propose(base: str, data: str, watch: Watch, *, changes: Mapping[str, Any], limit: int = 100, seed: int = 0) -> dict[str, Any]:
    """What the probe proposes for a base on these rows, as JSON (blocks, frozen, trained, decided, reason). data: rows to learn from alone.

    Raises UsageError and its kinds where the rows can't be asked about.
    """
    asked = {"masking": "word", "caption": None, "beside_random": False, "seed": seed, "changes": changes}
    found = probe.probe(base, probe.told("task", [f"task={data}"], limit=limit, **asked), watch)
    told: dict[str, Any] = found["suites"]["task"]["freeze"]
    return told


def freeze_arms(proposal: Mapping[str, Any], *, seed: int, count: int = RANDOM) -> list[tuple[str, dict[str, Any]]]:
    """Names and keys of a recipe: all blocks learn; those that the proposal says; and as many, at random, each set once.

    Fewer than `count` where there are no more sets of this size. Raises UsageError for a proposal that was not decided.
    """
    if not proposal["decided"]:
        raise UsageError(
            f"the probe proposes nothing to compare: {proposal['reason']}", wanted="a curve that decides", fix="give more rows"
        )
    every = [(FULL, ()), (PROPOSED, tuple(proposal["trained"]))]
    every += [(f"random {number}", each) for number, each in enumerate(_drawn(proposal, seed, count), 1)]
    return [(name, {"method.name": "full", "method.layers": list(layers)}) for name, layers in every]


def _drawn(proposal: Mapping[str, Any], seed: int, count: int) -> list[tuple[int, ...]]:
    """Sets of blocks of the proposal's size, other than it, each once."""
    size, blocks, own = len(proposal["trained"]), int(proposal["blocks"]), tuple(proposal["trained"])
    rng, found = stream(seed, "freeze"), dict[tuple[int, ...], None]()
    while len(found) < min(count, math.comb(blocks, size) - 1):
        chosen = tuple(sorted(rng.choice(blocks, size, replace=False).tolist()))
        if chosen != own:
            found[chosen] = None
    return list(found)


def judged(drawn: Mapping[str, Drawn], *, less: bool = False) -> dict[str, Any]:
    """Whether the proposal was better than the mean of the random freezes and than no freeze, as JSON. drawn: by the names of the arms.

    less: whether less of the figure is better. Seeds that an arm lacks count for none. Raises UsageError where the proposal was not
    measured, or no random freeze.
    """
    randoms = [name for name in drawn if name not in (FULL, PROPOSED)]
    if PROPOSED not in drawn or not randoms:
        raise UsageError("the proposal or the random freezes were not measured", wanted="both", fix="let the comparison go on")
    sign, seeds = -1.0 if less else 1.0, min(len(each.whole) for each in drawn.values())
    held = {name: Drawn(sign * each.whole[:seeds], sign * each.resampled[:, :seeds], each.rows) for name, each in drawn.items()}
    own = held[PROPOSED]
    over = difference(own, _mean([held[name] for name in randoms]))
    full = difference(own, held[FULL]) if FULL in held else None
    return {
        "seeds": seeds,
        "randoms": {name: sign * held[name].mean for name in randoms},
        "proposal": sign * own.mean,
        "beaten": sum(own.mean > held[name].mean for name in randoms),
        "over_random": _told(over, sign),
        "over_full": _told(full, sign) if full else None,
        "verdict": _verdict(over, sum(own.mean > held[name].mean for name in randoms), len(randoms), full),
    }


def _mean(arms: Sequence[Drawn]) -> Drawn:
    """One arm drawn from several as if one were taken blindly."""
    return Drawn(np.mean([each.whole for each in arms], axis=0), np.mean([each.resampled for each in arms], axis=0), arms[0].rows)


def _told(found: Difference, sign: float) -> dict[str, Any]:
    ends = sorted(sign * end for end in found.interval)
    return {"difference": sign * found.value, "interval": ends, "better": found.value > 0, "separable": found.separable}


def _verdict(over: Difference, beaten: int, count: int, full: Difference | None) -> str:
    said = "better than" if over.separable and over.value > 0 else "worse than" if over.separable else "not separable from"
    found = f"the probe's freeze is {said} the mean of {count} random freezes of its size: ahead of {beaten} of them, {_spelled(over)}"
    return found if full is None else f"{found}; against no freeze {_spelled(full)}"


def _spelled(found: Difference) -> str:
    low, high = found.interval
    return f"{found.value:+.3f} ({low:+.3f} to {high:+.3f})"
