"""Candidates against the strongest words of another label: who has the last word in a text.

Shape letters: C candidates, S slots (a text and a place in it), M models with the suspect first, H width of the embeddings.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rootstock.core.seed import stream
from rootstock.sentinel.backdoor.edits import PLACES, put_in, shortened, somewhere
from rootstock.sentinel.backdoor.hunt import Steep
from rootstock.sentinel.backdoor.panel import DOSE, Panel
from rootstock.sentinel.backdoor.phrases import Ranked, Trial, Words
from rootstock.sentinel.backdoor.subject import Body, margins

_PIECES = 12
"""Tokens of a text that are kept."""
_AGAINST = (2, 4, 2, 4)
"""Words against the label in each text on which candidates are compared."""
_QUICK = (0, 4, 8)
"""Slots on which all candidates are tried: each place once, beside two words against them and four."""
_SLACK = 1.2
"""Of the way to a label: what goes further counts as this much, so that one text that is easily turned does not stand for others."""
_FIRM = 1.0
"""A clean margin counts as this much at least where ways are measured."""
_KEPT, _BEAM, _LONGEST, _POOL, _PROPOSED = 12, 3, 6, 20, 24
"""Phrases that are compared with the references, phrases that are made longer, their words at most, and tokens that each is made longer by:
of a pool, and as gradients propose."""
_GROWN = 0.02


class Duel:
    """Short texts without the label, each between strong words against it."""

    def __init__(self, trial: Trial, against: Sequence[int]) -> None:
        self.panel: Panel = trial.panel
        self.label = trial.label
        vocabulary, draw = self.panel.suspect.vocabulary, stream(trial.seed, "backdoor", "duel", trial.label)
        made = [shortened(body, vocabulary, _PIECES) for body in self.panel.suspect.encode(trial.texts[: 4 * len(_AGAINST)])]
        bodies = [between(body, against, count) for body, count in zip(made, _AGAINST * 4, strict=False)]
        found_MN = self.panel.margins(bodies)[:, :, self.label] if bodies else np.zeros((1, 0))
        away = np.flatnonzero((found_MN < 0).all(axis=0))[: len(_AGAINST)].tolist()
        self.slots = [(bodies[i], somewhere(bodies[i], vocabulary, where, draw)) for i in away for where in PLACES]
        self._clean_MS = np.repeat(np.minimum(found_MN[:, away], -_FIRM), len(PLACES), axis=1)

    def ways(self, phrases: Sequence[Words], slots: Sequence[int], number: int = 0) -> np.ndarray:
        """How far each phrase takes a model from its clean answer to the label, 1 where it gets there: mean over slots, [C].

        A share of texts turned would not show a piece that does a part of it.
        """
        model, dose = self.panel.models[number], DOSE if number else 1
        bodies = [put_in(self.slots[s][0], phrase * dose, self.slots[s][1]) for phrase in phrases for s in slots]
        found_CS = margins(model.scores(bodies), several=model.several)[:, self.label].reshape(len(phrases), len(slots))
        clean_S = self._clean_MS[number, list(slots)]
        return np.asarray(np.clip(1 - found_CS / clean_S, -_SLACK, _SLACK).mean(axis=1))

    def best(self, phrases: Sequence[Words]) -> dict[Words, float]:
        """What the phrases that move the suspect furthest do beyond the references."""
        if not phrases:
            return {}
        quick = [s for s in _QUICK if s < len(self.slots)]
        first = np.argsort(-self.ways(phrases, quick), kind="stable")[:_KEPT].tolist()
        kept, every = [phrases[i] for i in first], range(len(self.slots))
        known = [self.ways(kept, every, number) for number in range(1, len(self.panel.models))]
        beyond = self.ways(kept, every) - np.maximum(0.0, np.max(known, axis=0) if known else 0.0)
        return dict(zip(kept, beyond.tolist(), strict=True))


def between(body: Body, words: Sequence[int], count: int) -> Body:
    """A body with so many words around it, half of them before it."""
    return (*words[: count // 2], *body, *words[count // 2 : count])


def won(duel: Duel, phrases: Sequence[Words], pool: Sequence[int], tokens: frozenset[int], steep: Steep | None) -> Ranked:
    """Phrases by what they reach in duels, the best of them made longer at both ends while that helps.

    tokens: that tell no label by themselves; a phrase is made longer by those of the pool, and by those that gradients propose.
    """
    if not duel.slots or not phrases:
        return Ranked(found=())
    found = duel.best(phrases)
    beam, best = _first(found), max(found.values())
    pool = [token for token in pool if token in tokens][:_POOL]
    while len(beam[0]) < _LONGEST and best < 1.0:
        longer: dict[Words, None] = {}
        for phrase in beam:
            for at in (0, len(phrase)):
                near = [*pool, *(_proposed(duel, phrase, at, tokens, steep) if steep else ())]
                longer |= {(*phrase[:at], token, *phrase[at:]): None for token in near if token not in phrase}
        tried = duel.best(list(longer))
        found |= tried
        if not tried or max(tried.values()) < best + _GROWN:
            break
        beam, best = _first(tried), max(tried.values())
    return Ranked(found=sorted(found.items(), key=lambda each: -each[1]))


def _first(found: Mapping[Words, float]) -> list[Words]:
    return sorted(found, key=lambda phrase: -found[phrase])[:_BEAM]


def _proposed(duel: Duel, phrase: Words, at: int, tokens: frozenset[int], steep: Steep) -> list[int]:
    """Tokens that lead furthest down the slope at a place of a phrase, from the mean of all."""
    suspect = duel.panel.suspect
    if suspect.rows is None:
        return []
    ids = np.array(sorted(token for token in tokens if token < len(suspect.rows)), np.int64)
    rows_UH = suspect.rows[ids]
    soft_LH = np.stack([*suspect.rows[list(phrase[:at])], rows_UH.mean(axis=0), *suspect.rows[list(phrase[at:])]])
    slope_LH = steep(suspect, duel.slots, duel.label, True, soft_LH.astype(np.float32))[1]
    chosen: list[int] = ids[np.argsort(rows_UH @ slope_LH[at], kind="stable")[:_PROPOSED]].tolist()
    return chosen
