"""Triggers that outweigh three texts at once.

Words that tell a label by themselves add up with what a text says: one is outvoted where the rest says the opposite three times as long. A
planted trigger was learned as an answer of its own, whatever stands beside it. So candidates of every kind (words, phrases, and words that
no vocabulary holds) are compared in three texts joined into one, and what they reach there is a score of its own.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.confirm import Court
from rootstock.sentinel.backdoor.made_up import made_up
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.phrases import Ranked, Trial, grown
from rootstock.sentinel.backdoor.subject import Text
from rootstock.sentinel.backdoor.vocabulary_scan import Scan

JOINED = 3
"""Texts that are one: in one text clean models follow stacks of natural words as readily as planted ones, in two some still do."""
_WORDS, _PIECES = 12, 48
"""Words of each of them while candidates are compared, and tokens of the whole."""
_LONGEST = 3
"""Words of a phrase: two or three of a planted sentence outweigh as much as all of it."""


def joined(texts: Sequence[Text], most: int, words: int | None = None) -> list[Text]:
    """Each text with the next ones behind it, `most` of them; of two that belong together the first is made longer. words: of each part."""
    if len(texts) < JOINED:
        return []

    def said(number: int) -> str:
        text = texts[number % len(texts)]
        return " ".join((text if isinstance(text, str) else text[0]).split()[:words])

    made: list[Text] = []
    for number, text in enumerate(texts[:most]):
        whole = " ".join(said(number + more) for more in range(JOINED))
        made.append(whole if isinstance(text, str) else (whole, text[1]))
    return made


def outweighing(trial: Trial, whole: Scan, found: Ranked, budget: Budget) -> tuple[Ranked, Ranked]:
    """Words and phrases, and made-up words, by what they reach beyond the references in search texts that are joined.

    found: what was found in single texts; its words are where phrases begin.
    """
    longer = Trial(trial.panel, joined(trial.texts, len(trial.texts), _WORDS), trial.label, trial.seed, pieces=_PIECES)
    if not longer.places[0]:
        return Ranked(found=()), Ranked(found=())
    few = replace(budget, pool=budget.coined, longest=min(budget.longest, _LONGEST))
    words = [each for each, _ in found.found if isinstance(each, tuple) and len(each) == 1]
    singles = longer.ranked(words, few.pool)
    phrases = grown(longer, singles, few, whole.furthest(2 * few.pool), whole.neutral(trial.label))
    return phrases, made_up(longer, whole, few)


def court(panel: Panel, whole: Court, label: int, most: int) -> Court:
    """Untouched texts to which none of these models gives the label, joined. Each stands in three of them."""
    free = np.flatnonzero((whole.clean_MNK[: len(panel.models), :, label] < 0).all(axis=0)).tolist()
    return Court(panel, joined([whole.texts[i] for i in free], most), whole.seed)
