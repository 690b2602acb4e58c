"""How more training texts are made of those that are there."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import Field

from rootstock.core.settings import Settings


@dataclass(frozen=True)
class Means:
    """What an augmentation may use. near: words that a base holds close to a word, the closest first; none where it does not know it."""

    near: Callable[[str], Sequence[str]]
    seed: int


class Augmentation(Settings, ABC):
    """A way to make more texts. Subclasses are final and live in one file each; they see training rows only."""

    copies: int = Field(default=1, ge=1, le=16)
    """Texts made of each."""

    @abstractmethod
    def made(self, texts: Sequence[str], means: Means) -> list[str]:
        """`copies` new texts of each, those of a text after each other. The same for the same texts and seed."""
