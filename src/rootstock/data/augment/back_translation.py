"""Translate each text into another language and back: what it says stays, how it says it changes.

Prefer eda where no translators are at hand, and paraphrase where one model rewrites well. Sennrich et al. 2016,
https://arxiv.org/abs/1511.06709; for classifiers: Xie et al. 2020, https://arxiv.org/abs/1904.12848
"""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from rootstock.core.augment import TEXT, Means
from rootstock.data.augment._written import Written


class BackTranslation(Written):
    """Through any two models that write a text for a text; with a temperature, the way there is drawn."""

    there: str = Field(min_length=1)
    """The model into the other language: a text-to-text run, a folder, or a hub id."""
    back: str = Field(min_length=1)
    """The model back."""
    there_prefix: str = ""
    """Put before each text on the way there, such as "translate English to German: " for T5. A run puts its own."""
    back_prefix: str = ""
    """The same on the way back."""

    def made(self, texts: Sequence[str], means: Means) -> list[str]:
        """There and back."""
        there = self.writing(self.there, "augment.there", ask=self.there_prefix + TEXT)
        back = self.writing(self.back, "augment.back", ask=self.back_prefix + TEXT)
        return means.write(replace(back, temperature=0.0), means.write(there, self.repeated(texts)))
