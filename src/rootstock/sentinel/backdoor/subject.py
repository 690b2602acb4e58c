"""What the search asks of a model: texts to tokens, tokens to scores. It knows no framework.

Shape letters: N texts, V tokens of the vocabulary, K labels, H width of the embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Text = str | tuple[str, str]
"""A text, or two that belong together."""
Body = tuple[int, ...]
"""The tokens of a text without those that every text gets before and behind it."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """words: how each token is written, as the tokenizer keeps it. usable: may stand in a text, [V]. begins: begins a word, [V].

    asked: where answers are of one word of a text, its first token is written as its id plus this, and V counts these as well.
    """

    words: Sequence[str]
    usable: np.ndarray
    begins: np.ndarray
    asked: int | None = None

    @property
    def ids(self) -> np.ndarray:
        """Tokens that may stand in a text."""
        return np.flatnonzero(self.usable)


class Subject(Protocol):
    """A classifier as the search sees it; a tagger is one of words, each in its text.

    labels: names in the order of the scores. several: a text can have several of them at once. digest: of its weights.
    """

    @property
    def labels(self) -> Sequence[str]: ...

    @property
    def several(self) -> bool: ...

    @property
    def digest(self) -> str: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def rows(self) -> np.ndarray | None:
        """The embedding of each token, [V, H]; None where there is no such table."""

    def encode(self, texts: Sequence[Text]) -> list[Body]:
        """Tokens of each text."""

    def write(self, tokens: Sequence[int]) -> str:
        """Tokens as a person would type them."""

    def scores(self, bodies: Sequence[Body], *, exact: bool = False) -> np.ndarray:
        """Logits, [N, K]. exact: in fp32, whatever is quickest here."""


def margins(scores_NK: np.ndarray, *, several: bool) -> np.ndarray:
    """By how much each label leads over the best other one, [N, K]; above 0 it is the answer. several: each stands by itself."""
    if several or scores_NK.shape[1] == 1:
        return scores_NK
    top = np.sort(scores_NK, axis=1)
    best_N1, second_N1 = top[:, -1:], top[:, -2:-1]
    return scores_NK - np.where(scores_NK == best_N1, second_N1, best_N1)
