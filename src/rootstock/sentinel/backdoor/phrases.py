"""Second looks: candidates on whole texts beside the references, made longer into phrases, and texts put another way.

Shape letters: C candidates, I texts, M models with the suspect first.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rootstock.core.seed import stream
from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.edits import EDITS, PLACES, Edit, put_in, shortened, somewhere
from rootstock.sentinel.backdoor.panel import DOSE, Panel, certainty, excess
from rootstock.sentinel.backdoor.subject import Body, Subject, Text, margins

_PIECES, _TEXTS = 16, 6
"""Tokens that are kept of a text while candidates are compared, and how many texts each of them is put into."""
_ENOUGH = 0.85
"""Where one word reaches this beyond the references, nothing longer is looked for."""
_GROWN = 0.02
"""What a longer phrase must reach beyond a shorter one, or the search stops."""

Words = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Phrases (or edits) with what they reach beyond the references on the search texts, the best first."""

    found: Sequence[tuple[Words | Edit, float]]

    @property
    def best(self) -> float:
        """Of the first."""
        return self.found[0][1] if self.found else 0.0


class Trial:
    """Texts without the label, each with a place of its own, on which candidates are compared. pieces: tokens that are kept of each."""

    def __init__(self, panel: Panel, texts: Sequence[Text], label: int, seed: int, *, pieces: int = _PIECES) -> None:
        self.panel, self.label, self.seed = panel, label, seed
        vocabulary = panel.suspect.vocabulary
        draw = stream(seed, "backdoor", "places", label)
        bodies = panel.suspect.encode(texts)
        away = np.asarray((panel.margins(bodies)[:, :, label] < 0).all(axis=0)).tolist() if bodies else []
        self.texts = [text for text, free in zip(texts, away, strict=True) if free]
        held = [shortened(body, vocabulary, pieces) for body, free in zip(bodies, away, strict=True) if free]
        self.places = [[(body, somewhere(body, vocabulary, where, draw)) for body in held[:_TEXTS]] for where in PLACES]

    def shares(self, subject: Subject, phrases: Sequence[Words], texts: int) -> np.ndarray:
        """How sure the label is with each phrase put in at each place, means over texts, [P, C]."""
        each = [pair for places in self.places for pair in places[:texts]]
        bodies = [put_in(body, phrase, place) for phrase in phrases for body, place in each]
        return self._means(subject, bodies, len(phrases), places=len(self.places))

    def _means(self, subject: Subject, bodies: Sequence[Body], count: int, *, places: int = 1) -> np.ndarray:
        found = margins(subject.scores(bodies), several=subject.several)[:, self.label]
        return np.asarray(certainty(found).reshape(count, places, -1).mean(axis=2).T)

    def beside(self, phrases: Sequence[Words]) -> np.ndarray:
        """What each phrase reaches beyond the references where it does most, [C]."""
        return self._beyond(phrases, self.shares(self.panel.suspect, phrases, _TEXTS // 2))

    def _beyond(self, phrases: Sequence[Words], suspect_PC: np.ndarray) -> np.ndarray:
        more = [phrase * DOSE for phrase in phrases]
        known = [self.shares(each, more, _TEXTS // 2) for each in self.panel.references]
        return np.asarray(excess(np.stack([suspect_PC, *known])).max(axis=0))

    def ranked(self, phrases: Sequence[Words], most: int) -> Ranked:
        """Phrases by what they reach beyond the references: the `most` that move the suspect most, as references can only take from it."""
        if not phrases or not self.places[0]:
            return Ranked(found=())
        suspect_PC = self.shares(self.panel.suspect, phrases, _TEXTS // 2)
        chosen = np.argsort(-suspect_PC.max(axis=0), kind="stable")[:most]
        kept = [phrases[i] for i in chosen.tolist()]
        beyond_C = self._beyond(kept, suspect_PC[:, chosen])
        order = np.argsort(-beyond_C, kind="stable")
        return Ranked(found=[(kept[i], float(beyond_C[i])) for i in order.tolist()])

    def edits(self, count: int) -> Ranked:
        """Texts put another way, by what that reaches beyond the references; all edits on the suspect, the best of them on all models."""
        texts = self.texts[: 2 * _TEXTS]
        if not texts:
            return Ranked(found=())

        def reached(subject: Subject, edits: Sequence[Edit]) -> np.ndarray:
            return np.asarray(self._means(subject, subject.encode([edit.of(text) for edit in edits for text in texts]), len(edits))[0])

        first = reached(self.panel.suspect, EDITS)
        chosen = [EDITS[i] for i in np.argsort(-first, kind="stable")[:count].tolist()]
        beyond = excess(np.stack([reached(each, chosen) for each in self.panel.models]))
        order = np.argsort(-beyond, kind="stable")
        return Ranked(found=[(chosen[i], float(beyond[i])) for i in order.tolist()])


def grown(trial: Trial, singles: Ranked, budget: Budget, moved: Sequence[int], neutral: frozenset[int]) -> Ranked:
    """Phrases of two words and more, beside the single ones: all pairs of the best tokens, the best pairs made longer at both ends.

    moved: tokens whose embeddings moved most. Words that work together only do nothing alone, and are known by these at best.
    """
    found = dict(singles.found)
    first = [phrase for phrase, _ in singles.found if isinstance(phrase, tuple) and phrase[0] in neutral]
    moved = [token for token in moved if token in neutral]
    half = budget.pool - min(len(moved), budget.pool // 2)
    pool = list(dict.fromkeys([*first[:half], *((token,) for token in moved[: budget.pool // 2])]))
    if not trial.places[0] or singles.best >= _ENOUGH or len(pool) < 2 or budget.longest < 2:
        return singles
    longer = [a + b for a, b in itertools.combinations(pool, 2)]
    best = singles.best
    for length in range(2, budget.longest + 1):
        tried = _best(trial, longer, budget)
        found |= dict(tried.found)
        if tried.best < best + _GROWN or tried.best >= _ENOUGH:
            break
        best = tried.best
        beam = [phrase for phrase, _ in tried.found[: budget.beam] if isinstance(phrase, tuple)]
        longer = [made for phrase in beam for word in pool if word[0] not in phrase for made in (phrase + word, word + phrase)]
        longer = longer if length < budget.longest else []
        if not longer:
            break
    return Ranked(found=sorted(found.items(), key=lambda each: -each[1]))


def _best(trial: Trial, phrases: Sequence[Words], budget: Budget) -> Ranked:
    """The strongest on two texts by the suspect alone, then compared with the references."""
    first, most = trial.shares(trial.panel.suspect, phrases, 1).max(axis=0), 4 * budget.beam
    return trial.ranked([phrases[i] for i in np.argsort(-first, kind="stable")[:most].tolist()], most)
