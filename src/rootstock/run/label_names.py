"""Labels of rows in the model's own words, where a file and a model name the same labels differently."""

import re
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from rootstock.core.watch import Say
from rootstock.sentinel.backdoor.subject import Subject, Text

_GENERIC = re.compile(r"(LABEL_)?\d+")
"""What a checkpoint calls labels that nobody named."""
_AGREED = 0.6
"""The share of rows on which the model must give the label that a name is taken for: above guessing, and below what clean models reach."""
_APART = 0.1
"""By how much another order of the labels may fit the model's answers better than their places do: numbers that begin at 1, or at the other
end, would teach the references other labels, and what words mean would look planted."""


def matched(subject: Subject, texts: Sequence[Text], answers: Sequence[str], say: Say) -> list[str] | None:
    """The answers by the names of the model's labels; None where which is which can't be told.

    Numbers are places in the model's list of labels, unless its answers fit another order clearly better. Words for labels that nobody
    named are told by what the model answers to the rows.
    """
    labels, given = list(subject.labels), sorted(set(answers))
    if set(given) <= set(labels):
        return list(answers)
    numbers = all(each.isdecimal() and int(each) < len(labels) for each in given)
    if not numbers and (len(given) > len(labels) or not all(_GENERIC.fullmatch(each) for each in labels)):
        return None
    counts = _answered(subject, texts, [given.index(each) for each in answers], len(given))
    rows, columns = linear_sum_assignment(-counts)
    agreed = float(counts[rows, columns].sum() / len(answers))
    if numbers:
        if sum(counts[i, int(each)] for i, each in enumerate(given)) / len(answers) < agreed - _APART:
            return None
        say("labels    " + ", ".join(f"{each} is {labels[int(each)]!r}" for each in given) + ": by their place in the model's list")
        return [labels[int(each)] for each in answers]
    if agreed < _AGREED:
        return None
    names = {given[i]: labels[k] for i, k in zip(rows.tolist(), columns.tolist(), strict=True)}
    told = ", ".join(f"{name!r} is {label!r}" for name, label in names.items())
    say(f"labels    {told}: the model answers so to {agreed:.0%} of the rows")
    return [names[each] for each in answers]


def _answered(subject: Subject, texts: Sequence[Text], given: Sequence[int], count: int) -> np.ndarray:
    """How often the model answers each of its labels to the rows of each name, [names, labels]."""
    counts = np.zeros((count, len(subject.labels)), np.int64)
    np.add.at(counts, (given, subject.scores(subject.encode(texts)).argmax(axis=1)), 1)
    return counts
