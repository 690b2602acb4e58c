"""Shared by augmentations that a model writes."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from rootstock.core.augment import Augmentation, Writing


class Written(Augmentation):
    """How a model writes new texts. It often writes what it read."""

    only_new: ClassVar[bool] = True

    temperature: float = Field(default=0.0, ge=0, validate_default=True)
    """0 takes the likeliest text; above it each token is drawn, the more freely the higher. Several copies need it."""
    beams: int = Field(default=1, ge=1)
    """Beginnings that are kept while the likeliest text is sought. A causal model takes 1."""
    max_tokens: int = Field(default=128, ge=1)
    """Most tokens that are written for a text."""

    @field_validator("temperature")
    @classmethod
    def _drawn_where_several(cls, value: float, info: ValidationInfo) -> float:
        if not value and info.data.get("copies", 1) > 1:
            raise ValueError("more than 0 where copies is more than 1: the likeliest text is always the same")
        return value

    def writing(self, model: str, key: str, *, ask: str) -> Writing:
        """How a model is asked. key: of the setting that names it."""
        return Writing(model=model, key=key, ask=ask, max_tokens=self.max_tokens, beams=self.beams, temperature=self.temperature)

    def repeated(self, texts: Sequence[str]) -> list[str]:
        """Each text as often as copies of it are wanted."""
        return [text for text in texts for _ in range(self.copies)]
