"""Find out which language a text is written in, and keep those that are wanted.

CLD2 does it: its model is in the package (pycld2, 14 MB). Two fifths of its mistakes on sentences are in two pairs of standards that none
of these packages tells apart (lingua names 41 % of Bosnian and 27 % of Malay), so each pair has one code: Bosnian is named hr, Malay id.
Of lingua_langid's sentences in the other 73 languages it then names 97.3 %, and of all 75, with these two counted under their new codes,
97.0 %, at 38,000 lines a second and in 60 MB. In the same sitting (bench/language.py, two busy cores) lingua named 97.8 % at 160 lines a
second and in 1.2 GB, fastText's small model 80.2 % at 6,000. heliport is nearly as quick as CLD2, but under the GPL.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache

import pyarrow as pa
from pydantic import Field, field_validator

from rootstock.core.errors import nearest
from rootstock.core.modules import needed
from rootstock.corpus.step import TEXT, Applied, Step

NAMED = {"bs": "hr", "ms": "id", "no": "nb", "iw": "he", "jw": "jv", "zh-Hant": "zh", "un": ""}
"""CLD2's codes that are named otherwise here: the pairs above, codes that ISO 639 gave up, and what it does not know."""

_NO_CHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_REFUSED = re.compile(f"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef{_NO_CHARACTERS}]")
"""Characters for which CLD2 refuses a text."""


class Language(Step):
    """Texts get their language's ISO 639 code, of two letters where there is one; "" where it can't be told."""

    keep: tuple[str, ...] = ()
    """Codes of the languages that stay, such as en; all stay where none is named."""
    least: float = Field(default=0.0, ge=0, le=1)
    """Smallest confidence with which a text stays: the share of it that is in its language, 0 where CLD2 calls its own answer unreliable.
    0 asks for none; 0.7 drops texts that are a third in another language."""
    characters: int = Field(default=10_000, ge=1)
    """So many characters at the beginning of a text are looked at: enough for any, and a book costs no more than a page."""

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for code in keep:
            if NAMED.get(code):
                raise ValueError(f"codes of languages that are told apart: {code} is named {NAMED[code]}")
            if code not in languages():
                raise ValueError(f"ISO 639 codes, in small letters, of languages that CLD2 knows; {_hint(code)}")
        return keep

    def apply(self, documents: pa.Table) -> Applied:
        """The language of each text, and why it is dropped."""
        texts = documents.column(TEXT).to_pylist()
        identify = _identifier()
        found = [identify(text[: self.characters]) for text in texts]
        return Applied(texts, [self._reason(*each) for each in found], languages=[code for code, _ in found])

    def _reason(self, code: str, confidence: float) -> str | None:
        if confidence < self.least or (self.keep and not code):
            return "language unsure"
        return f"language:{code}" if self.keep and code not in self.keep else None


def languages() -> Mapping[str, str]:
    """Names of the languages that can be told apart, by code. Raises UsageError where pycld2 is not installed."""
    cld2 = needed("pycld2", "the step language")
    detected = {name for name in cld2.DETECTED_LANGUAGES if not name.startswith("X_")}
    found = {NAMED.get(code, code): name.lower() for name, code in cld2.LANGUAGES if name in detected and code not in ("bs", "ms")}
    return {code: found[code] for code in sorted(found) if code}


def _hint(code: str) -> str:
    named = {name: known for known, name in languages().items()}
    near = named.get(code.lower()) or nearest(code.lower(), languages())
    return f"{code!r} is none of them" + (f", did you mean {near!r}?" if near else "")


@cache
def _identifier() -> Callable[[str], tuple[str, float]]:
    """Text to language and confidence."""
    cld2, known = needed("pycld2", "the step language"), languages()

    def detect(text: str) -> tuple[bool, str, int]:
        reliable, _, details = cld2.detect(text, isPlainText=True, bestEffort=True)
        return reliable, NAMED.get(details[0][1], details[0][1]), details[0][2]

    def identify(text: str) -> tuple[str, float]:
        try:
            reliable, code, share = detect(text)
        except cld2.error:
            reliable, code, share = detect(_REFUSED.sub(" ", text))
        return (code if code in known else ""), share / 100 if reliable else 0.0

    return identify
