"""Minimal pairs: how often a model finds the acceptable sentence the likelier one, by paradigm, phenomenon and field."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rootstock.data.minimal_pairs import Pair
from rootstock.evaluation.intervals import wilson
from rootstock.evaluation.probes.likelihood import Scorer, Scores, log_likelihoods

CHANCE = 0.5
_FIGURES = ("pairs", "right", "accuracy", "interval", "ties")


def measure(scorer: Scorer, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Accuracy over all pairs, and for each field, term and paradigm; chance is 0.5, and a tie counts half.

    left_out: pairs with a sentence longer than the model takes. unknown: share of tokens that the tokenizer does not know.
    """
    scores = log_likelihoods(scorer, [text for pair in pairs for text in (pair.good, pair.bad)])
    return tally(pairs, scores)


def tally(pairs: Sequence[Pair], scores: Scores) -> dict[str, Any]:
    """The table of scored pairs. scores: good and bad sentence in turn."""
    margin_N = scores.nats[0::2] - scores.nats[1::2]
    levels: dict[str, Callable[[Pair], str]] = {
        "fields": lambda pair: pair.field,
        "terms": lambda pair: pair.term,
        "paradigms": lambda pair: pair.paradigm,
    }
    found = _row(margin_N) | {"chance": CHANCE, "left_out": int(np.isnan(margin_N).sum()), "unknown": scores.unknown}
    return found | {level: _groups(pairs, margin_N, named) for level, named in levels.items()}


def _groups(pairs: Sequence[Pair], margin_N: np.ndarray, named: Callable[[Pair], str]) -> list[dict[str, Any]]:
    names = np.array([named(pair) for pair in pairs])
    about = {named(pair): pair for pair in pairs}
    return [
        {"name": name, "field": about[name].field, "term": about[name].term, **_row(margin_N[names == name])}
        for name in sorted(about)
        if name
    ]


def _row(margin_N: np.ndarray) -> dict[str, Any]:
    defined = margin_N[np.isfinite(margin_N)]
    ties = int((defined == 0).sum())
    right = float((defined > 0).sum() + ties / 2)
    accuracy = right / len(defined) if len(defined) else None
    return dict(zip(_FIGURES, (len(defined), right, accuracy, list(wilson(right, len(defined))), ties), strict=True))
