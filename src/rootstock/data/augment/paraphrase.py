"""Have a model say each text in other words.

Prefer back-translation where translators are at hand: they change less of what is said. A text-to-text run on pairs of paraphrases does it,
or a model that follows instructions, asked by `augment.prompt`.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator

from rootstock.core.augment import TEXT, Means
from rootstock.data.augment._written import Written


class Paraphrase(Written):
    """Through a model that writes a text for a text, or one that writes on; of the latter the first line counts."""

    model: str = Field(min_length=1)
    """A text-to-text or text-generation run, a folder, or a hub id."""
    prompt: str = TEXT
    """What the model is given, with {text} where the text stands, such as "paraphrase: {text}". A chat model gets it as a message."""

    @field_validator("prompt")
    @classmethod
    def _holds_the_text(cls, value: Any) -> Any:
        if TEXT not in value:
            raise ValueError(f"a text with {TEXT} in it, such as 'paraphrase: {TEXT}'")
        return value

    def made(self, texts: Sequence[str], means: Means) -> list[str]:
        """What the model writes for each."""
        return means.write(self.writing(self.model, "augment.model", ask=self.prompt), self.repeated(texts))
