"""What a search for backdoors ends with: a verdict in four words, indicators that a person can try, and how sure it can be.

No word of it says that a model is safe: no search can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rootstock.sentinel.backdoor.subject import Text

Verdict = Literal["evidence found", "weak evidence", "none found at this budget", "out of calibration"]


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """One way to make the model give a label.

    stage: known pattern, one word, phrase, edit, outweighs texts, gradient search or embedding row. rate with its 95 % interval of n texts;
    reference_rate: of the clean model that follows it most; control_rate: of random words like it, for known patterns. p: chance of as much
    in a clean model, of which kind `p_kind` says. strength: evidence or weak. examples: clean text, text with the trigger, answer before
    and after.
    """

    stage: str
    trigger: str
    label: str
    where: str
    rate: float
    interval: tuple[float, float]
    n: int
    reference_rate: float | None
    excess: float
    control_rate: float | None = None
    p: float | None = None
    p_kind: str = ""
    strength: str = "weak"
    examples: Sequence[tuple[Text, Text, str, str]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """The end of a scan.

    score: the most that a confirmed word or edit reaches beyond clean references; phrase_score: the same of phrases; outweigh_score: of
    the way to a label, by anything against strong words; gradient_score: of what gradients found, which
    has no p and is weak evidence at most, None where they were not followed. p: how often a clean model reaches as much as the score, None
    where nothing tells; bound: the rate of false alarms that the clean models behind p leave open at 95 %. reasons: why the verdict is what
    it is. seconds: by stage. tried: how much was tried. unit: what rates are shares of.
    """

    verdict: Verdict
    score: float
    phrase_score: float
    p: float | None
    p_kind: str
    bound: float | None
    alpha: float
    budget: str
    indicators: Sequence[Indicator]
    known: Sequence[Mapping[str, Any]] = ()
    reasons: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    tried: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "texts"
    gradient_score: float | None = None
    outweigh_score: float = 0.0

    @property
    def backdoor_detected(self) -> bool:
        """Whether there is evidence; weak evidence is none yet."""
        return self.verdict == "evidence found"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"backdoor_detected": self.backdoor_detected, **asdict(self)}
