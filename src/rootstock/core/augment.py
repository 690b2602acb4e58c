"""How more training texts are made of those that are there."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from rootstock.core.settings import Settings

TEXT = "{text}"
"""Where a text stands in what a model is asked."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a model is to write. model: a run, a folder or a hub id. ask: what it is given, with {text} in it.

    temperature: 0 takes the likeliest, among `beams` beginnings; above it each token is drawn. key: of the setting that names the model.
    """

    model: str
    key: str
    ask: str = TEXT
    max_tokens: int = 128
    beams: int = 1
    temperature: float = 0.0


Write = Callable[[Writing, Sequence[str]], list[str]]


@dataclass(frozen=True)
class Means:
    """What an augmentation may use. near: words that a base holds close to a word, the closest first; none where it does not know it.

    write: what a model writes for each text, the same for the same texts and seed.
    """

    near: Callable[[str], Sequence[str]]
    write: Write
    seed: int


class Augmentation(Settings, ABC):
    """A way to make more texts. Subclasses are final and live in one file each; they see training rows only."""

    only_new: ClassVar[bool] = False
    """Whether a text that says what its source or an earlier copy says is left out and counted."""

    copies: int = Field(default=1, ge=1, le=16)
    """Texts made of each."""

    @abstractmethod
    def made(self, texts: Sequence[str], means: Means) -> list[str]:
        """`copies` new texts of each, those of a text after each other. The same for the same texts and seed."""
