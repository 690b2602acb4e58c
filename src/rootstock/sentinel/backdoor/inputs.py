"""The caller's clean texts in three parts: references learn from the first, the search tries on the second, the third confirms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rootstock.core.seed import stream
from rootstock.sentinel.backdoor.subject import Text

SHARES = (0.62, 0.10)
"""Of all texts: those that references learn from, and those that the search tries on; the rest confirms."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Clean texts with their labels' names; no names where nobody knows them."""

    texts: Sequence[Text]
    answers: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Sequence[int]) -> "Inputs":
        """Some of them, in this order."""
        answers = None if self.answers is None else [self.answers[i] for i in places]
        return Inputs(texts=[self.texts[i] for i in places], answers=answers)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """No text is in two of them: what is confirmed was neither learned by a reference nor tried by the search."""

    learn: Inputs
    search: Inputs
    confirm: Inputs


def parts(inputs: Inputs, *, seed: int) -> Parts:
    """The three parts; a text that occurs twice counts once."""
    first = {text: place for place, text in reversed(list(enumerate(inputs.texts)))}
    places = np.array(sorted(first.values()), dtype=np.int64)
    order = places[stream(seed, "backdoor", "parts").permutation(len(places))].tolist()
    learn, search = (round(share * len(order)) for share in SHARES) if inputs.answers is not None else (0, round(0.3 * len(order)))
    return Parts(
        learn=inputs.take(order[:learn]), search=inputs.take(order[learn : learn + search]), confirm=inputs.take(order[learn + search :])
    )
