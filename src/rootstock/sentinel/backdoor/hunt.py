"""Triggers of several words that no single word shows, by gradients of the suspect and of its references together."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from rootstock.core.seed import stream
from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.descent import Aim, Effort, Side, Words, descended
from rootstock.sentinel.backdoor.phrases import Ranked, Trial
from rootstock.sentinel.backdoor.subject import Body, Subject

Steep = Callable[[Subject, Sequence[tuple[Body, int]], int, bool, np.ndarray], tuple[float, np.ndarray]]
"""Loss and gradient of a phrase of embeddings put into bodies at their places: how far a model is from a label, or, where the flag is
False, from leaving it."""
_PAIRS, _ROUNDS, _SWAPS, _BESIDE = 2, 10, 96, 12
"""Texts at each place that gradients are of, rounds of swaps, swaps of a round, and how many of these, those that move the suspect most,
are compared with the references: they cost nine tenths of a round otherwise."""


def hunted(trial: Trial, tokens: frozenset[int], budget: Budget, steep: Steep, seed: int) -> Ranked:
    """Phrases by what they reach beyond the references on the search texts. tokens: that tell no label by themselves."""
    vocabulary, panel = trial.panel.suspect.vocabulary, trial.panel
    known = min((len(each.rows) for each in panel.models if each.rows is not None), default=0)  # the suspect may have tokens of its own
    ids = np.array(sorted(token for token in tokens if vocabulary.begins[token] and token < known), np.int64)
    held = [pair for places in trial.places for pair in places[:_PAIRS]]
    if not held or panel.suspect.rows is None or len(ids) < 2:
        return Ranked(found=())
    sides = []
    for number, model in enumerate(panel.models):
        assert model.rows is not None
        pull = partial(steep, model, held, trial.label, number == 0)
        sides.append(Side(rows=model.rows[ids], pull=pull, weight=1.0 if number == 0 else 1.0 / len(panel.references)))

    def worth(phrases: Sequence[Words]) -> np.ndarray:
        found_C = np.full(len(phrases), -1.0)
        first_C = trial.shares(panel.suspect, phrases, 1).max(axis=0)
        chosen = np.argsort(-first_C, kind="stable")[:_BESIDE]
        found_C[chosen] = trial.beside([phrases[i] for i in chosen.tolist()])
        return found_C

    aim = Aim(ids=ids, sides=sides, worth=worth)
    effort = Effort(length=budget.hunted, restarts=budget.restarts, steps=budget.steps, rounds=_ROUNDS, swaps=_SWAPS)
    return Ranked(found=descended(aim, effort, stream(seed, "backdoor", "hunt", trial.label)))
