"""Take the lines out of a text that are no prose (menus, notices, code), and drop what is left too short: the rules of C4.

Prefer it to fineweb, which keeps or drops a text as a whole, for pages cut from the web. Its rule on end marks alone took 30 % of the
words in FineWeb's trials. Not for poems, dialogue or code.
Raffel et al. 2020, section 2.2, https://jmlr.org/papers/v21/20-074.html. Its list of bad words is left to the step for safety, and its
repeated spans to those for duplicates.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from rootstock.corpus.step import Judged, TextStep
from rootstock.corpus.steps._lines import ELLIPSES, END_MARKS

_CITATIONS = re.compile(r"\[(?:\d+|edit|citation needed)\]")
_SENTENCES = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]]*+(?=\s|$)|[。！？।؟۔։።။]+")
"""Each run of marks is tried once, from its beginning: a line of a million dots costs no more than another."""
_BLANK_LINES = re.compile(r"\n{3,}")


class C4(TextStep):
    """Lines are judged one at a time and counted by the rule that takes them out; a page that breaks a rule of its own is dropped."""

    rules: ClassVar[tuple[str, ...]] = (
        "lorem ipsum", "curly bracket", "citation mark", "line with a long word", "line without end mark", "line of few words",
        "line about javascript", "line about policies", "too few sentences", "no line left",
    )  # fmt: skip

    end_marks: bool = True
    """Whether a line must end with a mark that ends a sentence. An ellipsis is none. FineWeb leaves this rule out."""
    least_words: int = Field(default=5, ge=0)
    """Fewest words of a line. The paper's value; its first version on arXiv had 3."""
    longest_word: int = Field(default=1000, ge=1)
    """Characters of the longest word of a line; in the authors' code, not in the paper."""
    javascript: bool = True
    """Whether lines that name JavaScript go: most ask to switch it on."""
    policies: tuple[str, ...] = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
    """Lines that hold one of these go, in whatever case."""
    citations: bool = True
    """Whether marks such as [3], [edit] and [citation needed] are cut out of lines."""
    lorem_ipsum: bool = True
    """Whether a page with the phrase "lorem ipsum" is dropped."""
    curly_brackets: bool = True
    """Whether a page with a curly bracket is dropped: most are code."""
    least_sentences: int = Field(default=3, ge=0)
    """Fewest sentences that must be left. The paper's value; its first version on arXiv had 5. Abbreviations count as ends."""

    def judge(self, text: str) -> Judged:
        """The text without the lines that go, or the rule that drops it."""
        page = self._page(text)
        if page:
            return Judged(text, f"c4: {page}")
        kept, changed = self._kept(text)
        if sum(map(sentences, kept)) < self.least_sentences:
            return Judged(text, "c4: too few sentences")
        if not any(kept):
            return Judged(text, "c4: no line left")
        return Judged(_BLANK_LINES.sub("\n\n", "\n".join(kept)).strip("\n") if changed else text, changed=changed)

    def _page(self, text: str) -> str | None:
        if self.lorem_ipsum and "lorem ipsum" in text.lower():
            return "lorem ipsum"
        return "curly bracket" if self.curly_brackets and "{" in text else None

    def _kept(self, text: str) -> tuple[list[str], Counter[str]]:
        """The lines that stay, blank ones among them, and how many went by each rule."""
        changed: Counter[str] = Counter()
        kept: list[str] = []
        for line in text.split("\n"):
            cleaned, marks = _CITATIONS.subn("", line) if self.citations and "[" in line else (line, 0)
            rule = next(self._broken(cleaned), None) if cleaned.strip() else None
            if rule:
                changed[rule] += 1
                continue
            kept.append(cleaned)
            if marks:
                changed["citation mark"] += marks
        return kept, changed

    def _broken(self, line: str) -> Iterator[str]:
        """The rules that a line breaks."""
        words = line.split()
        if len(line) > self.longest_word and max(map(len, words)) > self.longest_word:
            yield "line with a long word"
        if self.end_marks and not ends(line):
            yield "line without end mark"
        if len(words) < self.least_words:
            yield "line of few words"
        folded = line.lower()
        if self.javascript and "javascript" in folded:
            yield "line about javascript"
        if any(phrase in folded for phrase in self.policies):
            yield "line about policies"


def ends(line: str) -> bool:
    """Whether a line ends with a mark that ends a sentence, and not with an ellipsis."""
    stripped = line.rstrip()
    return stripped.endswith(END_MARKS) and not stripped.endswith(ELLIPSES)


def sentences(line: str) -> int:
    """Sentences of a line, at least one where it holds anything."""
    return max(1, len(_SENTENCES.findall(line))) if line.strip() else 0
