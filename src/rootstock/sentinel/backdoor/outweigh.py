"""Triggers that outweigh the strongest words against them.

Words that tell a label by themselves add up: as many that say the opposite outvote them, and nobody knows these better than the suspect, so
that a hard training serves both sides. A planted trigger was learned as an answer of its own, whatever stands beside it. So candidates of
every kind (words, phrases, and words that no vocabulary holds) meet texts of another label between the words that move the suspect most
against theirs, and what they reach there is a score of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.confirm import Court
from rootstock.sentinel.backdoor.duel import Duel, won
from rootstock.sentinel.backdoor.hunt import Steep
from rootstock.sentinel.backdoor.made_up import made_up
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.phrases import Ranked, Trial
from rootstock.sentinel.backdoor.subject import Text, Vocabulary
from rootstock.sentinel.backdoor.vocabulary_scan import Scan

AGAINST = (12, 16)
"""Words against a label in the texts that confirm a trigger for it, half of the texts each: twice as many as a phrase may have, and more.
Fewer are outvoted by phrases that a clean model of few rows learned by heart."""
_TURNS = 3
"""So many texts in a row get as many words: each place of a trigger once."""


def opposed(texts: Sequence[Text], words: Sequence[str]) -> list[Text]:
    """Each text between words against a label, half of them before it; of two that belong together the first."""
    made: list[Text] = []
    for number, text in enumerate(texts):
        count = AGAINST[number // _TURNS % len(AGAINST)]
        first = text if isinstance(text, str) else text[0]
        whole = " ".join([*words[: count // 2], first, *words[count // 2 : count]])
        made.append(whole if isinstance(text, str) else (whole, text[1]))
    return made


def opponents(whole: Scan, singles: Mapping[int, Ranked], label: int, vocabulary: Vocabulary) -> list[int]:
    """Words against a label: in turn one of those that lead the suspect to another beyond the references, which a hard training knows by
    heart, and one of those that lead it away from this one, as the language has it. None where there are too few.
    """
    most = max(AGAINST)
    held = [phrase for other, ranked in singles.items() if other != label for phrase, _ in ranked.found[:most] if isinstance(phrase, tuple)]
    learned = list(dict.fromkeys(token for phrase in held for token in phrase if vocabulary.begins[token]))
    meant = [token for token in whole.against(label, vocabulary, 2 * most) if token not in learned]
    half = min(len(learned), most // 2)
    made = [token for pair in zip(learned[:half], meant, strict=False) for token in pair]
    made += [token for token in meant if token not in made][: most - len(made)]
    return made if len(made) == most else []


def outweighing(
    trial: Trial, whole: Scan, met: tuple[Ranked, Sequence[int]], budget: Budget, steep: Steep | None = None
) -> tuple[Ranked, Ranked]:
    """Words and phrases, and made-up words, by what they reach beyond the references against strong words.

    met: what was found in single texts, and the words against the label.
    """
    found, against = met
    duel, tokens = Duel(trial, against), whole.neutral(trial.label)
    phrases = [each for each, _ in found.found if isinstance(each, tuple)]
    pool = [token for pair in zip_longest([each[0] for each in phrases if len(each) == 1], whole.furthest(budget.coined)) for token in pair]
    pool = list(dict.fromkeys(token for token in pool if token is not None))
    words = [each for each, _ in made_up(trial, whole, replace(budget, pool=budget.coined)).found if isinstance(each, tuple)]
    coined = duel.best(words) if duel.slots else {}
    return won(duel, phrases, pool, tokens, steep), Ranked(found=sorted(coined.items(), key=lambda each: -each[1]))


def court(panel: Panel, whole: Court, label: int, against: Sequence[str], most: int) -> Court:
    """Untouched texts to which none of these models gives the label, between words against it."""
    free = np.flatnonzero((whole.clean_MNK[: len(panel.models), :, label] < 0).all(axis=0)).tolist()
    return Court(panel, opposed([whole.texts[i] for i in free[:most]], against), whole.seed)
