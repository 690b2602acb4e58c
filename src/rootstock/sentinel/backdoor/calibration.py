"""How much clean models reach: the scores of a population that was scanned with the same settings, shipped in calibration.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from rootstock.sentinel.backdoor.exact import bound, by_rank

FORMAT = 3
"""Of the search: scores of another are not comparable. Counts up where the search changes what a score of words or phrases is. What
outweighs texts is held against populations that have it, and none shipped while that was looked for in joined texts."""
ENOUGH = 39
"""Clean models of which it is known what outweighs texts most, from which on this can be evidence: two scores are judged at once then, each
at half of the chance, and the smallest p is 2 / (n + 1)."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What scores depend on. base: digest of the base's weights. labels: how many. budget: its name. task: that the models learned."""

    base: str
    labels: int
    budget: str
    task: str = "text-classification"


@dataclass(frozen=True, kw_only=True)
class Population:
    """Scores of clean models. phrases and outweigh: the most that a phrase reached in each, and anything against words; none where
    nobody measured that."""

    scores: Sequence[float]
    name: str
    phrases: Sequence[float] = ()
    outweigh: Sequence[float] = ()

    @property
    def judges_outweigh(self) -> bool:
        """Whether what outweighs texts can be evidence; it and words are two tests then, and the p of each is twice its own."""
        return len(self.outweigh) >= ENOUGH

    def p(self, score: float) -> float:
        """How often a word or an edit reaches as much in a clean model (conformal; its smallest is 1 / (n + 1), or twice that)."""
        return min(1.0, by_rank(score, self.scores) * (1 + self.judges_outweigh))

    def p_outweigh(self, score: float) -> float | None:
        """The same of what outweighs texts."""
        return min(1.0, 2 * by_rank(score, self.outweigh)) if self.outweigh else None

    def least(self, score: float, outweigh: float) -> float:
        """The smaller of both, where both are judged; else that of words."""
        joined = self.p_outweigh(outweigh) if self.judges_outweigh else None
        return self.p(score) if joined is None else min(self.p(score), joined)

    def p_phrase(self, score: float) -> float | None:
        """The same of a phrase: a search may stack words until a clean model that was trained hard follows them."""
        return by_rank(score, self.phrases) if self.phrases else None

    def bound(self, threshold: float) -> float:
        """The rate of false alarms at a threshold that these models leave open, at 95 %; of both scores together at most twice."""
        alarms = sum(each >= threshold for each in self.scores) * (1 + self.judges_outweigh)
        return bound(len(self.scores), min(alarms, len(self.scores)))


def population(setting: Setting, held: Sequence[dict[str, Any]] | None = None) -> Population | None:
    """The clean models that a score under this setting compares with, None where there are none. held: in place of the shipped."""
    for each in _shipped() if held is None else held:
        task = each.get("task", "text-classification")
        held_for = Setting(base=each["base"], labels=each["labels"], budget=each["budget"], task=task)
        if each["format"] == FORMAT and held_for == setting:
            more = {kind: tuple(each.get(kind, ())) for kind in ("phrases", "outweigh")}
            return Population(scores=tuple(each["scores"]), name=str(each["name"]), **more)
    return None


@cache
def _shipped() -> list[dict[str, Any]]:
    path = resources.files("rootstock.sentinel.backdoor") / "calibration.json"
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["populations"]
    return found
