"""Mend characters that were decoded wrongly, and give lines one shape: goes first, for every later rule counts characters and lines.

ftfy undoes mojibake ("cafÃ©"), HTML entities in plain text, ligatures, control characters and what is not in Unicode's composed form (NFC);
each line is mended for itself, for a page may hold lines of several makes. Then lines get one kind of end and no blanks at theirs.
Full-width marks stay unless asked for, though ftfy narrows them: they are the right ones in Chinese and Japanese. Lines of plain ASCII
without control characters or entities have nothing to mend and are not shown to ftfy: English then passes up to 2.6 times as fast (5.5
million characters a second), while text in other letters stays at 1.8 million.
Speer 2019, https://doi.org/10.5281/zenodo.2591652
"""

import re
from collections.abc import Callable
from functools import cache

from pydantic import Field

from rootstock.core.modules import needed
from rootstock.corpus.step import Judged, TextStep

_LINE_ENDS = re.compile(r"\r\n?|[\v\f\u2028\u2029]")
"""Those that mojibake never holds. Left in, U+2028 and U+2029 would hide from ftfy that a line's other letters are mojibake."""
_C1 = re.compile(r"[\x80-\x9f]")
"""Control characters that ftfy leaves where Windows' encoding has nothing in their place."""
_SUSPECT = re.compile(r"[^\t\n\x20-%'-~]|&(?=[#A-Za-z])")
"""What ftfy may change: anything that is not printable ASCII, and what may be an entity."""
_VISIBLE = re.compile(r"[^\s\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff]")
_KINDS = {
    "unescape_html": "entity",
    "fix_latin_ligatures": "ligature",
    "fix_character_width": "width",
    "uncurl_quotes": "curly quote",
    "fix_line_breaks": "line end",
    "fix_surrogates": "surrogate",
    "remove_terminal_escapes": "control character",
    "remove_control_chars": "control character",
    "NFC": "composition",
}
"""ftfy's fixes in plain words; what is not here belongs to the search for mojibake."""

_Fixer = Callable[[str], tuple[str, list[str]]]


class Repair(TextStep):
    """A text that shows nothing after it is dropped as empty."""

    quotes: bool = False
    """Whether curly quotes become straight ones; they are no mistake, and a tokenizer can learn them."""
    widths: bool = False
    """Whether full-width letters and marks become ordinary ones, also those that Chinese and Japanese are rightly written with."""
    blank_lines: int = Field(default=2, ge=0)
    """Most blank lines in a row; longer runs are folded to as many."""

    def judge(self, text: str) -> Judged:
        """The text mended, with each kind of change that it took."""
        ended = _LINE_ENDS.sub("\n", text)
        mended, kinds = self._mended(ended)
        trimmed = "\n".join([line.rstrip() for line in mended.split("\n")])
        cut = trimmed.strip("\n")
        folded = re.sub(rf"\n{{{self.blank_lines + 2},}}", "\n" * (self.blank_lines + 1), cut)
        found = {
            "line end": ended != text,
            "trailing blanks": trimmed != mended,
            "line ends around": cut != trimmed,
            "blank lines": folded != cut,
        }
        kinds |= {kind for kind, differs in found.items() if differs}
        return Judged(folded, None if _VISIBLE.search(folded) else "empty", dict.fromkeys(sorted(kinds), 1))

    def _mended(self, text: str) -> tuple[str, set[str]]:
        """What ftfy makes of the lines that may need it, and the kinds of its changes. Where a tag may stand, entities are left alone."""
        fix = _fixer(self.quotes, self.widths, "<" not in text)
        if not _SUSPECT.search(text):
            return text, set()
        kinds: set[str] = set()
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if _SUSPECT.search(line):
                lines[number], steps = fix(line)
                # it names steps that changed nothing, too
                kinds |= {_KINDS.get(name, "mojibake") for name in steps if lines[number] != line}
        mended, removed = _C1.subn("", "\n".join(lines))
        if not removed:
            return mended, kinds
        mended, more = self._mended(mended)  # a control character can hide mojibake beside it
        return mended, kinds | more | {"control character"}


@cache
def _fixer(quotes: bool, widths: bool, entities: bool) -> _Fixer:
    """ftfy with its settings. Raises UsageError where it is not installed."""
    ftfy = needed("ftfy", "the step repair")
    config = ftfy.TextFixerConfig(unescape_html=entities, uncurl_quotes=quotes, fix_character_width=widths)

    def fix(line: str) -> tuple[str, list[str]]:
        text, steps = ftfy.fix_and_explain(line, config)
        return text, [step.parameter for step in steps or ()]

    return fix
