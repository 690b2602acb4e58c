"""How far a classifier's answers move when only a group in the text is exchanged (counterfactual token fairness, Garg et al. 2019,
arXiv:1809.10610).

Shape letters: N units, K texts of a unit for one group, C classes, R resamples, Q texts asked.
Per pair of groups and source: `moved`, the mean distance between the two answers (half the summed change of the classes' probabilities;
for rows of several labels the largest change of one), `flips`, how often the label changes, and for each class the signed gap with a paired
test. Chances are Holm's over all tests of the report. A gap counts as shown where its chance is below 0.05 and it is at least the floor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from rootstock.core.seed import stream
from rootstock.evaluation.bias.cases import Cases
from rootstock.evaluation.intervals import FEWEST, around, quantile, wilson
from rootstock.evaluation.paired import Drawn, difference, holm

FLOOR = 0.05
LEVEL = 0.05
_RESAMPLES = 1000
_EXAMPLES = 3


@dataclass(frozen=True)
class Answers:
    """What the model said to every text: probabilities [Q, C]. several: a text can have several labels, each above one half."""

    probabilities: np.ndarray
    labels: tuple[str, ...]
    several: bool

    @property
    def tested(self) -> tuple[int, ...]:
        """Classes whose gap is told: of two that add up to one, the second alone."""
        return (1,) if len(self.labels) == 2 and not self.several else tuple(range(len(self.labels)))

    def apart(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of two answers, whatever the leading axes."""
        change = np.abs(self.probabilities[first] - self.probabilities[second])
        return np.asarray(change.max(-1) if self.several else change.sum(-1) / 2)

    def flips(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether the label (or the set of labels) is another."""
        one, other = self.probabilities[first], self.probabilities[second]
        if self.several:
            return np.asarray(((one >= 0.5) != (other >= 0.5)).any(-1))
        return np.asarray(one.argmax(-1) != other.argmax(-1))


def measure(cases: Sequence[Cases], answers: Answers, texts: Sequence[tuple[str, ...]], *, floor: float, seed: int) -> list[dict[str, Any]]:
    """A table for each attribute and source, with verdicts; chances are corrected over all of them."""
    tables = [_table(each, answers, texts, seed) for each in cases]
    gaps = [gap for table in tables for pair in table["pairs"] for gap in pair["gaps"]]
    for gap, corrected in zip(gaps, holm([gap["p"] for gap in gaps]), strict=True):
        gap["p_holm"] = corrected
        gap["verdict"] = _verdict(gap, floor)
    return tables


def _verdict(gap: Mapping[str, Any], floor: float) -> str:
    """shown: too large to be chance, and at least the floor. small: the interval stays below the floor. open: these rows can't tell."""
    low, high = gap["interval"]
    if gap["units"] < FEWEST:
        return "open"
    if gap["p_holm"] < LEVEL and abs(gap["value"]) >= floor:
        return "shown"
    return "small" if -floor < low and high < floor else "open"


def _table(cases: Cases, answers: Answers, texts: Sequence[tuple[str, ...]], seed: int) -> dict[str, Any]:
    groups = cases.attribute.groups
    pairs = [_pair(cases, answers, texts, names, seed) for names in combinations(groups, 2)]
    return {
        "attribute": cases.attribute.name,
        "source": cases.source,
        "rows": cases.counts,
        "pairs": [pair for pair in pairs if pair is not None],
        "apart": [each for reason in ("asymmetric", "several_groups") if (each := _apart(cases, answers, reason))],
    }


def _pair(cases: Cases, answers: Answers, texts: Sequence[tuple[str, ...]], names: tuple[str, str], seed: int) -> dict[str, Any] | None:
    units = [unit for unit in cases.units if names[0] in unit.texts and names[1] in unit.texts]
    if not units:
        return None
    first_NK, second_NK = (np.array([unit.texts[name] for unit in units]) for name in names)
    moved_N, flips_N = answers.apart(first_NK, second_NK).mean(1), answers.flips(first_NK, second_NK).mean(1)
    found = {
        "first": names[0],
        "second": names[1],
        "units": len(units),
        "moved": _mean(moved_N),
        "flips": {"value": float(flips_N.mean()), "interval": _flips(flips_N)},
        "gaps": _gaps(answers, first_NK, second_NK, seed),
        "examples": _examples(answers, texts, first_NK, second_NK, moved_N),
    }
    if first_NK.shape[1] > 1:
        within_N = np.concatenate([answers.apart(each, np.roll(each, 1, axis=1)) for each in (first_NK, second_NK)], axis=1).mean(1)
        found["within"] = _mean(within_N)
    return found


def _gaps(answers: Answers, first_NK: np.ndarray, second_NK: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Words of a group are drawn from it as texts are from theirs: where a gap hangs on one name of many, the interval is wide."""
    sides_NKC = [answers.probabilities[each] for each in (first_NK, second_NK)]
    count = len(first_NK)
    weights_RN = stream(seed, "bias", count).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES) / count
    found = []
    for c in answers.tested:
        told = difference(*(Drawn(each_NKC[..., c].mean(0), weights_RN @ each_NKC[..., c], count) for each_NKC in sides_NKC))
        interval = [max(-1.0, told.interval[0]), min(1.0, told.interval[1])] if count > 1 else [-1.0, 1.0]
        found.append({"label": answers.labels[c], "units": count, "value": told.value, "interval": interval, "p": told.p})
    return found


def _mean(values_N: np.ndarray) -> dict[str, Any]:
    """The mean of distances, which lie between 0 and 1."""
    count, value = len(values_N), float(values_N.mean())
    spread = float(values_N.var(ddof=1)) / count if count > 1 else 0.0
    return {"value": value, "interval": list(around(value, spread, place=quantile(count), rows=count, within=(0.0, 1.0)))}


def _flips(flips_N: np.ndarray) -> list[float]:
    """Wilson's for whole rows; that of a mean where a unit has several texts."""
    if np.isin(flips_N, (0.0, 1.0)).all():
        return list(wilson(float(flips_N.sum()), len(flips_N)))
    found: list[float] = _mean(flips_N)["interval"]
    return found


def _examples(
    answers: Answers, texts: Sequence[tuple[str, ...]], first_NK: np.ndarray, second_NK: np.ndarray, moved_N: np.ndarray
) -> list[dict[str, Any]]:
    """The units that move most, with the answers to both texts, so that a person can try them."""
    found = []
    for n in np.argsort(-moved_N, kind="stable")[:_EXAMPLES]:
        k = int(answers.apart(first_NK[n], second_NK[n]).argmax())
        places = int(first_NK[n, k]), int(second_NK[n, k])
        change_C = np.abs(answers.probabilities[places[0]] - answers.probabilities[places[1]])
        c = answers.tested[0] if len(answers.tested) == 1 else int(change_C.argmax())
        found.append(
            {
                "label": answers.labels[c],
                "texts": [" | ".join(texts[place]) for place in places],
                "probabilities": [float(answers.probabilities[place, c]) for place in places],
            }
        )
    return found


def _apart(cases: Cases, answers: Answers, reason: str) -> dict[str, Any] | None:
    """Rows whose swap may change what is true: how far answers move, without a test. A row's swaps are averaged: rows are independent."""
    held = [(before, after) for why, before, after in cases.apart if why == reason]
    if not held:
        return None
    before_S, after_S = (np.array(side) for side in zip(*held, strict=True))
    moved_S, flips_S = answers.apart(before_S, after_S), answers.flips(before_S, after_S).astype(float)
    rows_S = np.unique(before_S, return_inverse=True)[1]
    counts_N = np.bincount(rows_S)
    moved_N, flips_N = (np.bincount(rows_S, each) / counts_N for each in (moved_S, flips_S))
    return {
        "reason": reason,
        "rows": len(counts_N),
        "moved": _mean(moved_N),
        "flips": {"value": float(flips_N.mean()), "interval": _flips(flips_N)},
    }
