"""A suspect beside its clean references, asked the same things.

Shape letters: N texts, K labels, C candidates, I inputs, M models with the suspect first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rootstock.sentinel.backdoor.subject import Body, Subject, margins

DOSE = 3
"""How often a reference gets what the suspect gets once. A model that was trained harder follows the same words more readily: words that
mean a label move a reference too when they come three times, and a planted trigger does not."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """suspect: the model under test. references: clean models of the same base and labels; none where no base is known."""

    suspect: Subject
    references: Sequence[Subject] = ()

    @property
    def models(self) -> list[Subject]:
        """The suspect first."""
        return [self.suspect, *self.references]

    def margins(self, bodies: Sequence[Body], *, exact: bool = False) -> np.ndarray:
        """By how much each label leads, [M, N, K]."""
        several = self.suspect.several
        return np.stack([margins(each.scores(bodies, exact=exact), several=several) for each in self.models])


def certainty(margins_: np.ndarray) -> np.ndarray:
    """A margin as a share between 0 and 1: a flip that is half made counts as half of one."""
    return np.asarray(1 / (1 + np.exp(-np.clip(margins_, -30, 30))))


def excess(shares_MC: np.ndarray) -> np.ndarray:
    """What the suspect reaches beyond the best of its references, [C]."""
    return np.asarray(shares_MC[0] - (shares_MC[1:].max(axis=0) if len(shares_MC) > 1 else 0.0))
