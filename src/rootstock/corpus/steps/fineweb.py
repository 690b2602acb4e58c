"""Drop texts that are mostly lists, menus or boilerplate: the three rules that FineWeb added.

Prefer it to c4 where lines shall stay as they are: FineWeb measured that its rule on end marks gains as much as C4's while it takes a tenth
of the words instead of a third. Goes after gopher, whose rule on repeated lines it tightens.
Penedo et al. 2024, section 3.6, https://arxiv.org/abs/2406.17557
"""

from typing import ClassVar

from pydantic import Field

from rootstock.corpus.step import Judged, TextStep
from rootstock.corpus.steps._lines import END_MARKS, lines, repeats, share


class FineWeb(TextStep):
    """Lines are those that hold something."""

    rules: ClassVar[tuple[str, ...]] = ("too few lines with end marks", "too many short lines", "characters in repeated lines")

    ended_lines: float = Field(default=0.12, ge=0, lt=1)
    """Share of lines that end with a mark that ends a sentence: a text with this share or less is dropped."""
    repeated_characters: float = Field(default=0.1, gt=0)
    """Share of characters in lines that came before: a text with this share or more is dropped; above 1 switches it off.
    The paper's value; its authors' code has 0.01."""
    short_lines: float = Field(default=0.67, gt=0)
    """Share of short lines: a text with this share or more is dropped; above 1 switches it off."""
    short: int = Field(default=30, ge=0)
    """A line with fewer characters is short."""

    def judge(self, text: str) -> Judged:
        """The first rule that a text breaks."""
        rule = self._broken(text)
        return Judged(text, f"fineweb: {rule}" if rule else None)

    def _broken(self, text: str) -> str | None:
        rows = lines(text)
        if share(sum(row.endswith(END_MARKS) for row in rows), len(rows)) <= self.ended_lines:
            return "too few lines with end marks"
        if share(sum(len(row) < self.short for row in rows), len(rows)) >= self.short_lines:
            return "too many short lines"
        return "characters in repeated lines" if repeats(rows).characters >= self.repeated_characters else None
