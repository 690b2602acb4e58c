"""How much clean models reach: the scores of a population that was scanned with the same settings, shipped in calibration.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from rootstock.sentinel.backdoor.exact import bound, by_rank

FORMAT = 2
"""Of the search: scores of another are not comparable. Counts up where the search changes what a score is."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What scores depend on. base: digest of the base's weights. labels: how many. budget: its name. task: that the models learned."""

    base: str
    labels: int
    budget: str
    task: str = "text-classification"


@dataclass(frozen=True, kw_only=True)
class Population:
    """Scores of clean models. phrases: the most that a phrase reached in each; none where nobody measured that."""

    scores: Sequence[float]
    name: str
    phrases: Sequence[float] = ()

    def p(self, score: float) -> float:
        """How often a word or an edit reaches as much in a clean model (conformal; its smallest is 1 / (n + 1))."""
        return by_rank(score, self.scores)

    def p_phrase(self, score: float) -> float | None:
        """The same of a phrase: a search may stack words until a clean model that was trained hard follows them."""
        return by_rank(score, self.phrases) if self.phrases else None

    def bound(self, threshold: float) -> float:
        """The rate of false alarms at a threshold that these models leave open, at 95 %."""
        return bound(len(self.scores), sum(each >= threshold for each in self.scores))


def population(setting: Setting, held: Sequence[dict[str, Any]] | None = None) -> Population | None:
    """The clean models that a score under this setting compares with, None where there are none. held: in place of the shipped."""
    for each in _shipped() if held is None else held:
        task = each.get("task", "text-classification")
        held_for = Setting(base=each["base"], labels=each["labels"], budget=each["budget"], task=task)
        if each["format"] == FORMAT and held_for == setting:
            return Population(scores=tuple(each["scores"]), name=str(each["name"]), phrases=tuple(each.get("phrases", ())))
    return None


@cache
def _shipped() -> list[dict[str, Any]]:
    path = resources.files("rootstock.sentinel.backdoor") / "calibration.json"
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["populations"]
    return found
