"""A trigger on texts that nobody used so far, in fp32, typed as a person would: how often the label follows, and in clean references.

Shape letters: N texts, M models with the suspect first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rootstock.core.seed import stream
from rootstock.sentinel.backdoor.edits import PLACES, Edit
from rootstock.sentinel.backdoor.exact import interval
from rootstock.sentinel.backdoor.panel import DOSE, Panel
from rootstock.sentinel.backdoor.subject import Subject, Text, margins

FEWEST = 40
"""Texts without a label that confirm a trigger for it; a rate of fewer says too little."""
_LEADS = 0.5
"""What a trigger must reach at one place to be tried there on all texts."""
_NEEDED = 0.03
"""What a word must add to a trigger to be needed."""
_FIRM = 0.5
"""A clean margin counts as this much at least where ways are measured: none is long that begins at the border."""
Trigger = str | Edit
"""Words to type somewhere in a text, or a way to put the whole of it."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """hits of n texts took the label."""

    hits: int
    n: int

    @property
    def share(self) -> float:
        """0 where there was no text."""
        return self.hits / self.n if self.n else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Clopper and Pearson's exact 95 % interval."""
        return interval(self.hits, self.n)


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """trigger for a label. rate: of the suspect. references: of each clean model. where: the one place at which it works, or anywhere.

    way: how far the suspect goes from its clean answers to the label, 1 where it gets there, beyond the reference that goes furthest.
    examples: clean text, text with the trigger, answer before, answer after.
    """

    trigger: Trigger
    label: int
    rate: Rate
    references: Sequence[Rate]
    where: str
    way: float = 0.0
    examples: Sequence[tuple[Text, Text, str, str]] = field(default=())

    @property
    def excess(self) -> float:
        """What the suspect reaches beyond the best of its references."""
        return self.rate.share - max((each.share for each in self.references), default=0.0)

    @property
    def name(self) -> str:
        """The trigger as a person reads it."""
        return self.trigger if isinstance(self.trigger, str) else self.trigger.name


class Court:
    """Untouched texts, the clean answers of all models to them, and a place in each where words are put in."""

    def __init__(self, panel: Panel, texts: Sequence[Text], seed: int) -> None:
        self.panel, self.texts, self.seed = panel, list(texts), seed
        self.clean_MNK = panel.margins(panel.suspect.encode(self.texts), exact=True)

    def joined(self, reference: Subject) -> None:
        """One more reference sits beside the others."""
        own_NK = margins(reference.scores(self.panel.suspect.encode(self.texts), exact=True), several=self.panel.suspect.several)
        self.panel = Panel(suspect=self.panel.suspect, references=[*self.panel.references, reference])
        self.clean_MNK = np.concatenate([self.clean_MNK, own_NK[None]])

    def confirm(self, trigger: Trigger, label: int, most: int) -> Confirmed:
        """The trigger on texts to which the suspect does not give the label: a third at each place, and all where one place leads."""
        chosen = np.flatnonzero(self.clean_MNK[0, :, label] < 0)[:most].tolist()
        places = [number % len(PLACES) for number in range(len(chosen))]
        changed = [self._with(trigger, i, place) for i, place in zip(chosen, places, strict=True)]
        found_MN = self._margins(trigger, chosen, places, label)
        whole = self._made(trigger, label, chosen, found_MN, "anywhere")
        if not isinstance(trigger, str) or whole.excess >= 0.8 or len(chosen) < len(PLACES) * 8:
            return self._shown(whole, chosen, changed, found_MN)
        by_place = [(found_MN[0, place :: len(PLACES)] > 0).mean() for place in range(len(PLACES))]
        lead = int(np.argmax(by_place))
        if by_place[lead] < _LEADS or by_place[lead] - min(by_place) < 0.4:
            return self._shown(whole, chosen, changed, found_MN)
        there = [self._with(trigger, i, lead) for i in chosen]
        there_MN = self._margins(trigger, chosen, [lead] * len(chosen), label)
        only = self._made(trigger, label, chosen, there_MN, PLACES[lead])
        best, texts, found_MN = (only, there, there_MN) if only.excess > whole.excess else (whole, changed, found_MN)
        return self._shown(best, chosen, texts, found_MN)

    def _with(self, trigger: Trigger, number: int, place: int) -> Text:
        text = self.texts[number]
        if not isinstance(trigger, str):
            return trigger.of(text)
        first, rest = (text, None) if isinstance(text, str) else text
        words = first.split()
        inside = stream(self.seed, "backdoor", "word", number)
        at = 0 if place == 0 else len(words) if place == 2 or len(words) < 2 else int(inside.integers(1, len(words)))
        made = " ".join([*words[:at], trigger, *words[at:]])
        return made if rest is None else (made, rest)

    def _margins(self, trigger: Trigger, chosen: Sequence[int], places: Sequence[int], label: int) -> np.ndarray:
        """By how much the label leads in each model, [M, N]; words are put in once for the suspect and `DOSE` times for its references."""
        more = " ".join([trigger] * DOSE) if isinstance(trigger, str) else trigger
        several, found = self.panel.suspect.several, []
        for each, words in [(self.panel.suspect, trigger), *((each, more) for each in self.panel.references)]:
            texts = [self._with(words, i, place) for i, place in zip(chosen, places, strict=True)]
            found.append(margins(each.scores(self.panel.suspect.encode(texts), exact=True), several=several)[:, label])
        return np.stack(found)

    def _made(self, trigger: Trigger, label: int, chosen: Sequence[int], found_MN: np.ndarray, where: str) -> Confirmed:
        rates, ways = [], []
        for found_N, clean_N in zip(found_MN, self.clean_MNK[:, list(chosen), label], strict=True):
            free_N = clean_N < 0
            rates.append(Rate(hits=int((found_N[free_N] > 0).sum()), n=int(free_N.sum())))
            gone_N = np.clip(1 - found_N[free_N] / np.minimum(clean_N[free_N], -_FIRM), 0, 1)
            ways.append(float(gone_N.mean()) if len(gone_N) else 0.0)
        way = ways[0] - max(ways[1:], default=0.0)
        return Confirmed(trigger=trigger, label=label, rate=rates[0], references=rates[1:], where=where, way=way)

    def _shown(self, found: Confirmed, chosen: Sequence[int], texts: Sequence[Text], found_MN: np.ndarray) -> Confirmed:
        names, label = self.panel.suspect.labels, found.label
        flipped = [number for number in np.flatnonzero(found_MN[0] > 0).tolist()][:3]
        before = [names[int(self.clean_MNK[0, chosen[number]].argmax())] for number in flipped]
        examples = [(self.texts[chosen[n]], texts[n], answer, names[label]) for n, answer in zip(flipped, before, strict=True)]
        return replace(found, examples=examples)

    def smallest(self, found: Confirmed, most: int) -> Confirmed:
        """The trigger without the words that it does not need: half of the texts tell which, and all what is left."""
        some = max(most // 2, FEWEST // 2)
        held = self.confirm(found.trigger, found.label, some)
        while isinstance(held.trigger, str) and len(words := held.trigger.split()) > 1:
            shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
            tried = [self.confirm(each, held.label, some) for each in shorter if self._may(each, held, some)]
            best = max(tried, key=lambda each: each.excess, default=None)
            if best is None or best.excess < held.excess - _NEEDED:
                break
            held = best
        return found if held.trigger == found.trigger else self.confirm(held.trigger, found.label, most)

    def _may(self, shorter: str, found: Confirmed, most: int) -> bool:
        """Whether the suspect alone gives the label often enough for less words to do as much: the references can only take from it."""
        chosen = np.flatnonzero(self.clean_MNK[0, :, found.label] < 0)[:most].tolist()
        texts = [self._with(shorter, i, number % len(PLACES)) for number, i in enumerate(chosen)]
        suspect = self.panel.suspect
        hit_N = margins(suspect.scores(suspect.encode(texts), exact=True), several=suspect.several)[:, found.label] > 0
        by_place = [hit_N[place :: len(PLACES)].mean() for place in range(min(len(PLACES), len(hit_N)))]
        return bool(hit_N.mean() >= found.excess - _NEEDED or max(by_place) >= _LEADS)
