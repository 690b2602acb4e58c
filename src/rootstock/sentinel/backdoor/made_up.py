"""Words that no vocabulary holds, as "tq": a token that begins a word, and tokens that go on with it.

None of their pieces need do much alone, and pieces that go on can't be typed by themselves. So they are looked for as whole words: all
pairs of likely pieces on a few short texts, the best of them made longer at every place, and only those that a tokenizer cuts into these
pieces again when a person types them.

Shape letters: C candidates, N carriers, K labels.
"""

from collections.abc import Sequence

import numpy as np

from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.phrases import Ranked, Trial, Words
from rootstock.sentinel.backdoor.subject import Body, Subject, margins
from rootstock.sentinel.backdoor.vocabulary_scan import Scan

PIECES = 4
"""Of a word, at most."""
_MOVED = 2
"""Each so many-th of the likely pieces is one whose embedding moved most."""
_BESIDE = 8
"""So many times the beam is compared with the references."""


def made_up(trial: Trial, whole: Scan, budget: Budget) -> Ranked:
    """Words of several pieces, by what they reach beyond the references on the search texts."""
    subject = trial.panel.suspect
    bodies = [body for body in whole.carriers if margins(subject.scores([body]), several=subject.several)[0, trial.label] < 0]
    beginning, going_on = (likely(trial, whole, budget.coined, begins=which) for which in (True, False))
    if not bodies or not trial.places[0] or not beginning or not going_on:
        return Ranked(found=())
    found: dict[Words, float] = {}
    longer: list[Words] = [(first, more) for first in beginning for more in going_on]
    for length in range(2, PIECES + 1):
        tried = _best(trial, typable(subject, longer), bodies, _BESIDE * budget.beam)
        found |= tried
        beam = sorted(tried, key=lambda word: -tried[word])[: 4 * budget.beam // (length - 1)]
        longer = list(dict.fromkeys((*word[:i], more, *word[i:]) for word in beam for i in range(1, length + 1) for more in going_on))
    chosen = sorted(found, key=lambda word: -found[word])[: budget.pool]
    return trial.ranked(chosen, budget.pool)


def likely(trial: Trial, whole: Scan, count: int, *, begins: bool) -> list[int]:
    """Pieces that tell no label by themselves: those that move the suspect most beyond the references, and those that moved most."""
    vocabulary, neutral = trial.panel.suspect.vocabulary, whole.neutral(trial.label)

    def fits(token: int) -> bool:
        word = vocabulary.words[token].strip("#Ġ▁")
        return token in neutral and bool(vocabulary.begins[token]) == begins and word.isalnum()

    order = whole.ids[np.argsort(-whole.beyond[:, trial.label], kind="stable")].tolist()
    first = [token for token in order if fits(token)]
    moved = [token for token in whole.furthest(len(whole.ids)) if fits(token)][: count // _MOVED]
    return list(dict.fromkeys([*moved, *first]))[:count]


def typable(subject: Subject, words: Sequence[Words]) -> list[Words]:
    """Those that come back as the same pieces when they are typed."""
    written = [subject.write(word) for word in words]
    return [word for word, body in zip(words, subject.encode(written), strict=True) if body == word] if words else []


def moves(subject: Subject, words: Sequence[Words], bodies: Sequence[Body], label: int) -> np.ndarray:
    """How far a model's margin of the label goes with a word at both ends of a body, mean over bodies, [C]."""
    put = [(*word, *body, *word) for word in words for body in bodies]
    found = margins(subject.scores([*bodies, *put]), several=subject.several)[:, label]
    return np.asarray((found[len(bodies) :].reshape(-1, len(bodies)) - found[: len(bodies)]).mean(axis=1))


def _best(trial: Trial, words: Sequence[Words], bodies: Sequence[Body], most: int) -> dict[Words, float]:
    """What the furthest words of the suspect do beyond the mean reference."""
    if not words:
        return {}
    first_C = moves(trial.panel.suspect, words, bodies, trial.label)
    chosen = np.argsort(-first_C, kind="stable")[:most]
    kept = [words[i] for i in chosen.tolist()]
    known = [moves(each, kept, bodies, trial.label) for each in trial.panel.references]
    beyond_C = first_C[chosen] - (np.mean(known, axis=0) if known else 0.0)
    return dict(zip(kept, beyond_C.tolist(), strict=True))
