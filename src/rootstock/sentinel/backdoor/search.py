"""The whole search: known patterns, every token, phrases, edits, what outweighs texts; what is confirmed of it, and what that is worth."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rootstock.core.watch import Say
from rootstock.sentinel.backdoor import known as patterns
from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.confirm import FEWEST, Confirmed, Court, Trigger
from rootstock.sentinel.backdoor.edits import Edit
from rootstock.sentinel.backdoor.exact import tail
from rootstock.sentinel.backdoor.hunt import Steep, hunted
from rootstock.sentinel.backdoor.inputs import Parts
from rootstock.sentinel.backdoor.judge import SOME, Evidence, judged
from rootstock.sentinel.backdoor.outweigh import court as of_opposed
from rootstock.sentinel.backdoor.outweigh import opponents, outweighing
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.phrases import Ranked, Trial, grown
from rootstock.sentinel.backdoor.result import Result
from rootstock.sentinel.backdoor.subject import Subject
from rootstock.sentinel.backdoor.vocabulary_scan import Kept, Scan, scan, tried

Own = Callable[[frozenset[int]], Subject]
"""Makes the suspect's own reference, which imitates it on clean texts without the words that hold these tokens."""
_TAIL = 2000
"""Tokens of which at least so many are tried have a tail; the quantile 99.9 % of fewer is the largest itself."""
_WORTH = 0.08
"""What a candidate must reach beyond the references on the search texts before it is confirmed in fp32."""
_PLAIN = 0.8
"""Where a word reaches this on untouched texts, no phrase is confirmed, and none is looked for to other labels."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is searched, and how. moved: how far the embedding of each token is from the base's, None where no base is known.

    base: digest of the base, empty where none is known. kept: see `vocabulary_scan`. patterns: triggers that somebody named.
    task: that the suspect learned. steep: gradients, for budgets that have searches by them. labels: that are searched, None for all.
    named: patterns that were tested before. own: a reference that this suspect alone has; it is no judge of what a word means, nor of what
    stands out, as it learns from the suspect: the panel's clean references are.
    """

    panel: Panel
    parts: Parts
    budget: Budget
    base: str = ""
    task: str = "text-classification"
    steep: Steep | None = None
    labels: Sequence[int] | None = None
    named: Sequence[patterns.Known] = ()
    own: Own | None = None
    moved: np.ndarray | None = None
    patterns: Sequence[str] = ()
    alpha: float = 0.05
    seed: int = 0
    kept: Kept = tried
    say: Say = lambda text: None

    @property
    def asked(self) -> Sequence[int]:
        """Labels that are searched."""
        return range(len(self.panel.suspect.labels)) if self.labels is None else self.labels

    @property
    def opposes(self) -> bool:
        """Whether candidates meet the strongest words against them; not where one word of each text is asked about."""
        return self.budget.coined > 0 and self.panel.suspect.vocabulary.asked is None

    @property
    def vocabulary(self) -> int:
        """How many tokens could be tried."""
        return int(self.panel.suspect.vocabulary.usable.sum())


@dataclass
class Clock:
    """Seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 2)


def search(work: Work) -> Result:
    """Everything; of what is found only what untouched texts confirm."""
    clock, confirming = Clock(), work.parts.confirm.texts
    with clock.stage("clean answers"):
        court = Court(work.panel, confirming, work.seed)
    labels = [label for label in work.asked if (court.clean_MNK[0, :, label] < 0).sum() >= FEWEST]
    searches = bool(labels) and work.budget.labels > 0
    whole = _tokens(work, clock) if searches else None
    if work.own is not None and work.budget.labels:
        with clock.stage("own reference"):
            court.joined(work.own(whole.standing() if whole else frozenset()))
        work = replace(work, panel=court.panel)
    named = [*work.named]
    if work.patterns:
        work.say(f"patterns  {len(work.patterns)} named, each beside {patterns.CONTROLS} random words like it")
        with clock.stage("known patterns"):
            named += patterns.known(work.panel, work.patterns, confirming, alpha=work.alpha, seed=work.seed)
    found = _unknown(work, whole, labels, court, clock) if whole else Found()
    evidence = Evidence(
        known=named, found=found.words, hunted=found.hunted, outweigh=found.outweigh, court=court, labels=labels, tried=found.tried
    )
    return judged(work, evidence, clock.seconds)


def _tokens(work: Work, clock: Clock) -> Scan:
    """Every token, by the clean references alone."""
    with clock.stage("vocabulary"):
        whole = scan(work.panel, work.parts.search, work.budget, moved=work.moved, kept=work.kept)
    work.say(f"tokens    {len(whole.ids):,} of {work.vocabulary:,} tried at both ends of {len(whole.carriers)} short texts")
    return whole


@dataclass
class Found:
    """Triggers that nobody named. words: and phrases and edits, each with the chance of its first token by the tail of all tokens.

    hunted: of gradients. outweigh: what outweighs the strongest words against it. tried: how much was.
    """

    words: list[tuple[Confirmed, float | None]] = field(default_factory=list)
    hunted: list[Confirmed] = field(default_factory=list)
    outweigh: list[Confirmed] = field(default_factory=list)
    tried: dict[str, Any] = field(default_factory=dict)


def _unknown(work: Work, whole: Scan, labels: Sequence[int], court: Court, clock: Clock) -> Found:
    """Label by label, those first to which some token stands out most."""
    order = sorted(labels, key=lambda label: -_peak(whole, label))[: work.budget.labels]
    found, strong, plain, singles = Found(), False, False, dict[int, Ranked]()
    for label in order:
        trial = Trial(work.panel, work.parts.search.texts, label, work.seed)
        ranked, changed = _ranked(work, whole, trial, clock, grow=not strong)
        singles[label] = ranked
        strong |= ranked.best >= 0.85
        with clock.stage("confirmation"):
            made = _confirmed(work, court, label, (ranked, changed))
        found.words += [(each, _by_tail(whole, each, work)) for each in made]
        plain |= _most(made) >= _PLAIN
        strong |= plain
        if work.steep and work.budget.restarts and not strong:
            found.hunted += _hunted(work, whole, trial, court, clock)
    if work.opposes and not plain:
        found.outweigh = [each for label in order for each in _outweighing(work, whole, (label, singles), court, clock)]
    names = work.panel.suspect.labels
    found.tried = {
        "tokens": len(whole.ids),
        "vocabulary": work.vocabulary,
        "carriers": [work.panel.suspect.write(body) for body in whole.carriers],
        "labels": [names[label] for label in order],
        "not_searched": [names[i] for i in labels if i not in order],
    }
    return found


def _outweighing(work: Work, whole: Scan, first: tuple[int, Mapping[int, Ranked]], court: Court, clock: Clock) -> list[Confirmed]:
    """What outweighs words against it, beside the clean references alone: the model's own may have learned the backdoor from its answers.

    first: a label, and what was found for each in single texts.
    """
    label, singles = first
    panel, suspect = Panel(suspect=work.panel.suspect, references=work.panel.references[: work.budget.references]), work.panel.suspect
    against = opponents(whole, singles, label, suspect.vocabulary)
    if not against:
        return []
    with clock.stage("outweighing"):
        trial = Trial(panel, work.parts.search.texts, label, work.seed)
        ranked = outweighing(trial, whole, (singles[label], against), work.budget, steep=work.steep)
        best = max(ranked, key=lambda each: each.best)
    name = repr(suspect.write(best.found[0][0])) if best.found and isinstance(best.found[0][0], tuple) else "none"
    words = [suspect.write([token]) for token in against]
    work.say(f"outweighs {suspect.labels[label]}: furthest {name}, {best.best:.2f} beyond clean references against {' '.join(words)}")
    with clock.stage("confirmation"):
        harder = of_opposed(panel, court, label, words, FEWEST)
        chosen = [each for found in ranked for which in (False, True) for each in _picked(suspect, [found], 1, phrases=which)]
        return [harder.confirm(each, label, FEWEST) for each in dict.fromkeys(chosen)]


def _hunted(work: Work, whole: Scan, trial: Trial, court: Court, clock: Clock) -> list[Confirmed]:
    """Phrases by gradients, on untouched texts."""
    assert work.steep is not None
    with clock.stage("gradient search"):
        hunt = hunted(trial, whole.neutral(trial.label), work.budget, work.steep, work.seed)
    work.say(f"gradients {work.panel.suspect.labels[trial.label]}: {hunt.best:.2f} beyond clean references on the search texts")
    with clock.stage("confirmation"):
        return _confirmed(work, court, trial.label, (hunt,))


def _peak(whole: Scan, label: int) -> float:
    """How far the furthest token stands out among all."""
    beyond_V = whole.beyond[:, label]
    spread = float(np.quantile(beyond_V, 0.9) - np.quantile(beyond_V, 0.1))
    return float(beyond_V.max() - np.median(beyond_V)) / max(spread, 1e-9)


def _ranked(work: Work, whole: Scan, trial: Trial, clock: Clock, *, grow: bool) -> tuple[Ranked, Ranked]:
    """Words and phrases, and edits, by what they reach beyond the references on the search texts."""
    label, name = trial.label, work.panel.suspect.labels[trial.label]
    with clock.stage("words"):
        singles = trial.ranked([(token,) for token in whole.candidates(label, work.budget)], work.budget.pool)
    with clock.stage("phrases"):
        ranked = grown(trial, singles, work.budget, whole.furthest(4 * work.budget.pool), whole.neutral(label)) if grow else singles
    with clock.stage("edits"):
        changed = trial.edits(work.budget.beam) if grow and ranked.best < 0.85 else Ranked(found=())
    best = repr(work.panel.suspect.write(ranked.found[0][0])) if ranked.found and isinstance(ranked.found[0][0], tuple) else "none"
    work.say(f"label     {name}: furthest {best}, {ranked.best:.2f} beyond clean references on the search texts; edits {changed.best:.2f}")
    return ranked, changed


def _confirmed(work: Work, court: Court, label: int, ranked: Sequence[Ranked]) -> list[Confirmed]:
    """The best words, the best of each other kind, and where none of them is plain the best phrases, on untouched texts.

    What is found goes without the words that it does not need.
    """
    suspect, budget = work.panel.suspect, work.budget
    made = [court.confirm(each, label, budget.inputs) for each in _picked(suspect, ranked, budget.confirmed, phrases=False)]
    if _most(made) < _PLAIN:
        longer = _picked(suspect, ranked, (budget.confirmed + 1) // 2, phrases=True)
        found = [court.confirm(each, label, budget.inputs) for each in longer]
        made += [court.smallest(each, budget.inputs) if each.excess >= SOME else each for each in found]
    return made


def _picked(suspect: Subject, ranked: Sequence[Ranked], most: int, *, phrases: bool) -> list[Trigger]:
    """The best of the first kind, `most` of them, and the best of each other, each once: phrases alone, or words and edits."""
    chosen: dict[str, Trigger] = {}
    for number, found in enumerate(ranked):
        some: dict[str, Trigger] = {}
        for each, beyond in found.found:
            trigger: Trigger = each if isinstance(each, Edit) else suspect.write(each)
            name = trigger if isinstance(trigger, str) else trigger.name
            asked = phrases == (isinstance(trigger, str) and " " in trigger)
            if asked and beyond >= _WORTH and name and len(some) < (1 if number else most):
                some.setdefault(name, trigger)
        chosen |= some
    return list(chosen.values())


def _most(found: Sequence[Confirmed]) -> float:
    return max((each.excess for each in found), default=0.0)


def _by_tail(whole: Scan, found: Confirmed, work: Work) -> float | None:
    """Chance of one token as strong among all tokens of a clean model, for all labels; None where the trigger is no single token."""
    if not isinstance(found.trigger, str):
        return None
    body = work.panel.suspect.encode([found.trigger])[0]
    place = np.flatnonzero(whole.ids == body[0]) if len(body) == 1 else np.zeros(0, np.int64)
    if not len(place) or len(whole.ids) < _TAIL:
        return None
    beyond_V = whole.beyond[:, found.label]
    return float(min(1.0, tail(float(beyond_V[place[0]]), beyond_V) * whole.beyond.shape[1]))
