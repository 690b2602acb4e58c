"""Drop texts that do not read like prose, or repeat themselves: the rules of Gopher's MassiveText.

Prefer it to c4, which mends pages line by line, where a bad text shall go as a whole; both go together. Lines and paragraphs are those that
hold something; words are what blanks part, without lone marks (a corpus that was tokenised has many), so the rules about words pass over
languages that are written without blanks.
Rae et al. 2021, appendix A.1.1 and table A1, https://arxiv.org/abs/2112.11446
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from rootstock.corpus.step import LANGUAGE, TEXT, Applied, Step
from rootstock.corpus.steps._lines import (
    ELLIPSES,
    UNSPACED,
    grams,
    lengths,
    lines,
    paragraphs,
    repeated_share,
    repeats,
    share,
    top_share,
)

_BULLETS = ("•", "‣", "●", "▪", "◦", "* ", "- ")
"""What a bullet line begins with; the last two are those of Markdown and plain text."""
_LETTERED = re.compile(r"[^\W\d_]\S*")
"""A word from its first letter on: one match for each word that has a letter."""
_ELLIPSIS = re.compile(r"\.\.\.|…")


class Gopher(Step):
    """Each rule that a text breaks is a reason of its own; the first in the order below is the one recorded."""

    rules: ClassVar[tuple[str, ...]] = (
        "too few words", "too many words", "words too short", "words too long", "too many hashes", "too many ellipses",
        "too few words with letters", "too few stop words", "too many bullet lines", "too many ellipsis lines", "repeated lines",
        "repeated paragraphs", "characters in repeated lines", "characters in repeated paragraphs",
        *(f"characters in the top {size}-gram" for size in range(2, 5)), *(f"characters in repeated {size}-grams" for size in range(5, 11)),
    )  # fmt: skip

    least_words: int = Field(default=50, ge=0)
    """Fewest words of a text."""
    most_words: int = Field(default=100_000, ge=1)
    """Most words of a text."""
    least_length: float = Field(default=3, ge=0)
    """Smallest mean length of words, in characters."""
    most_length: float = Field(default=10, gt=0)
    """Largest mean length of words, in characters: above it stand links and lists of keys."""
    hashes: float = Field(default=0.1, ge=0)
    """Most hash signs to a word."""
    ellipses: float = Field(default=0.1, ge=0)
    """Most ellipses (three dots or …) to a word."""
    bullet_lines: float = Field(default=0.9, ge=0, le=1)
    """Largest share of lines that begin with a bullet point; 1 switches it off, as it does each share below."""
    ellipsis_lines: float = Field(default=0.3, ge=0, le=1)
    """Largest share of lines that end with an ellipsis."""
    lettered_words: float = Field(default=0.8, ge=0, le=1)
    """Smallest share of words with at least one letter; 0 switches it off."""
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """Words of which any real text has some; the paper's eight are English. None: texts are not asked for any."""
    least_stop_words: int = Field(default=2, ge=0)
    """How many different stop words a text must have."""
    stop_language: str = "en"
    """Language of the stop words: texts known to be in another are not asked for them, so a corpus of many languages loses none."""
    repeated_lines: float = Field(default=0.3, ge=0, le=1)
    """Largest share of lines that came before."""
    repeated_paragraphs: float = Field(default=0.3, ge=0, le=1)
    """Largest share of paragraphs that came before."""
    repeated_line_characters: float = Field(default=0.2, ge=0, le=1)
    """Largest share of characters in lines that came before."""
    repeated_paragraph_characters: float = Field(default=0.2, ge=0, le=1)
    """Largest share of characters in paragraphs that came before."""
    top_grams: tuple[float, float, float] = (0.2, 0.18, 0.16)
    """Largest shares of characters in the most frequent n-gram of 2, 3 and 4 words, where it comes more than once."""
    repeated_grams: tuple[float, float, float, float, float, float] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.1)
    """Largest shares of characters in n-grams of 5, 6, … 10 words that came before."""

    def apply(self, documents: pa.Table) -> Applied:
        """The first rule that each text breaks."""
        texts, languages = (documents.column(name).to_pylist() for name in (TEXT, LANGUAGE))
        return Applied(texts, [self.reason(text, language) for text, language in zip(texts, languages, strict=True)])

    def reason(self, text: str, language: str = "") -> str | None:
        """The first rule that a text in a language breaks ("" where it is not known), or None."""
        return next((f"gopher: {rule}" for rule in self._broken(text, language)), None)

    def _broken(self, text: str, language: str) -> Iterator[str]:
        words = [word for word in text.split() if len(word) > 1 or word.isalnum()]
        spaced = language not in UNSPACED
        if spaced:
            yield from self._words(text, words)
        if language in ("", self.stop_language):
            yield from _named("too few stop words", self._lacks_stop_words(text))
        yield from self._lines(text)
        if spaced:
            yield from self._grams(words)

    def _words(self, text: str, words: Sequence[str]) -> Iterable[str]:
        count = len(words)
        yield from _named("too few words", count < self.least_words)
        yield from _named("too many words", count > self.most_words)
        length = share(sum(map(len, words)), count)
        yield from _named("words too short", length < self.least_length)
        yield from _named("words too long", length > self.most_length)
        yield from _named("too many hashes", share(text.count("#"), count) > self.hashes)
        yield from _named("too many ellipses", share(len(_ELLIPSIS.findall(text)), count) > self.ellipses)
        yield from _named("too few words with letters", share(len(_LETTERED.findall(text)), count) < self.lettered_words)

    def _lacks_stop_words(self, text: str) -> bool:
        """Looks no further than needed: most texts show theirs in the first sentence."""
        asked = min(self.least_stop_words, len(self.stop_words))
        found: set[str] = set()
        for match in _any_of(self.stop_words).finditer(text) if asked else ():
            found.add(match[0].lower())
            if len(found) >= asked:
                return False
        return asked > 0

    def _lines(self, text: str) -> Iterable[str]:
        rows = lines(text)
        bullets, trails = (sum(map(test, rows)) for test in (_is_bullet, _trails_off))
        yield from _named("too many bullet lines", share(bullets, len(rows)) > self.bullet_lines)
        yield from _named("too many ellipsis lines", share(trails, len(rows)) > self.ellipsis_lines)
        line, paragraph = repeats(rows), repeats(paragraphs(text))
        yield from _named("repeated lines", line.parts > self.repeated_lines)
        yield from _named("repeated paragraphs", paragraph.parts > self.repeated_paragraphs)
        yield from _named("characters in repeated lines", line.characters > self.repeated_line_characters)
        yield from _named("characters in repeated paragraphs", paragraph.characters > self.repeated_paragraph_characters)

    def _grams(self, words: Sequence[str]) -> Iterable[str]:
        limits = dict(enumerate((*self.top_grams, *self.repeated_grams), 2))
        sizes = lengths(words)
        for found in grams(words, range(2, 2 + len(limits))):
            top = found.size < 5
            measured = top_share(found, sizes) if top else repeated_share(found, sizes)
            kind = "characters in the top" if top else "characters in repeated"
            yield from _named(f"{kind} {found.size}-gram{'' if top else 's'}", measured > limits[found.size])


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)


def _named(rule: str, broken: bool) -> tuple[str, ...]:
    return (rule,) if broken else ()


def _is_bullet(line: str) -> bool:
    return line.startswith(_BULLETS)


def _trails_off(line: str) -> bool:
    return line.endswith(ELLIPSES)
