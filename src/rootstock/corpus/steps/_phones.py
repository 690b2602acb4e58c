"""Telephone numbers in running text.

A number with + and its country counts where it is as long as that country's are; with 00 it must be one that the country gives out, as an
order may begin so too. A national one counts where a word
before it says so (call, Tel.), or where its groups are those of its country and no other number looks so: 202-555-0123, 020 7946 0958.
Numbers without an area code are left: they name nobody.
"""

import re
from collections.abc import Iterator

from rootstock.core.modules import needed
from rootstock.corpus.steps._numbers import Span, alone

_INTERNATIONAL = re.compile(r"(?:\+|(?<!\d)00)[1-9][\d ().\-/]{5,22}\d")
_NORTH_AMERICAN = re.compile(r"(?:1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])[2-9]\d\d[-. ]\d{4}(?!\d)")
_NATIONAL = re.compile(r"(?:\(\d{1,5}\)|\d)[\d ().\-/]{6,18}\d")
_OWN_FORM = re.compile(r"\(0\d+\)[ \d./-]+|0\d+(?:[ ./-]\d+){2,}|\(\d\d\) ?9?\d{4}-\d{4}")
"""Two groups with a bracket or three without; the last is Brazil's."""
_DATE = re.compile(r"\d{1,2}([./-])\d{1,2}\1(?:19|20)\d\d|(?:19|20)\d\d([./-])\d\d\2\d\d")
_CUE = re.compile(
    r"\b(?:tel|tels|telf|tlf|tele?(?:ph|f)\w+|t[ée]l(?:[ée]phone)?|phones?|mobiles?|cell|handy|fax|whatsapp|call(?:ed|ing)?|ring|dial|sms"
    r"|m[óo]vil|portable|celular|cellulare|komórka|appele[rz]|anrufen|llam\w+|chiama\w*|ligue|bel)\b"
    r"(?:(?!serial|order|imei|model|invoice|ticket|case|refer)[^\d\n]){0,25}$",
    re.IGNORECASE,
)
_BEFORE = 40
_LEAST_DIGITS, _MOST_DIGITS = 9, 12


def phones(text: str, low: int, high: int, regions: tuple[str, ...]) -> Iterator[Span]:
    """Numbers in a stretch of text; national ones of these regions (ISO 3166)."""
    for match in _INTERNATIONAL.finditer(text, low, high):
        yield from _longest(text, match.span(), regions=())
    for match in _NORTH_AMERICAN.finditer(text, low, high):
        if alone(text, *match.span()) and "US" in regions and _valid(match[0], "US"):
            yield match.span()
    for match in _NATIONAL.finditer(text, low, high):
        yield from _longest(text, match.span(), regions=regions)


def _longest(text: str, span: Span, *, regions: tuple[str, ...]) -> Iterator[Span]:
    """The longest whole groups of a run of digits that are a number, if any are."""
    start, last = span
    cued = bool(regions) and bool(_CUE.search(text[max(0, start - _BEFORE) : start]))
    for end in _ends(text, start, last):
        found = text[start:end]
        if alone(text, start, end) and (_national(found, regions, cued=cued) if regions else _international(found)):
            yield start, end
            return


def _ends(text: str, start: int, last: int) -> Iterator[int]:
    """Ends of groups of digits, the last first."""
    yield last
    for end in range(last - 1, start + 7, -1):
        if text[end - 1].isdigit() and not text[end].isdigit():
            yield end


def _international(found: str) -> bool:
    return _valid(f"+{found[2:]}", None) if found.startswith("00") else _possible(found)


def _possible(found: str) -> bool:
    """Whether the length is one of the country that the number names; numbers given out since the library's release pass too."""
    library = needed("phonenumbers", "personal data")
    try:
        return bool(library.is_possible_number(library.parse(found, None)))
    except library.NumberParseException:
        return False


def _national(found: str, regions: tuple[str, ...], *, cued: bool) -> bool:
    digits = sum(map(str.isdigit, found))
    if not _LEAST_DIGITS <= digits <= _MOST_DIGITS or _DATE.match(found):
        return False
    if cued:
        return any(_valid(found, region) for region in regions)
    return bool(_OWN_FORM.fullmatch(found)) and any(_grouped(found, region) for region in regions)


def _valid(found: str, region: str | None) -> bool:
    """Whether a region, or the country that the number names, gives out such a number."""
    library = needed("phonenumbers", "personal data")
    try:
        return bool(library.is_valid_number(library.parse(found, region)))
    except library.NumberParseException:
        return False


def _grouped(found: str, region: str) -> bool:
    """Whether it is also written in the groups that are usual there."""
    library = needed("phonenumbers", "personal data")
    matches = library.PhoneNumberMatcher(found, region, leniency=library.Leniency.STRICT_GROUPING)
    return any(match.raw_string == found for match in matches)
