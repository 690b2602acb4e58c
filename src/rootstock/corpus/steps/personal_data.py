"""Put placeholders in the place of personal data: e-mail and IP addresses, telephone, card, account and national-id numbers.

It goes by form and check digits, not by names and places. Doubts are decided by the words of the text where a number is as often
something else: four numbers with dots after a word such as "version" or "section" are no address, and an id that looks like any number
needs a word that says what it is. Addresses written to be unreadable ("ada at example dot org") are not found.
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import Field

from rootstock.corpus.step import Judged, TextStep
from rootstock.corpus.steps._numbers import Span, cards, ibans, national_ids
from rootstock.corpus.steps._phones import phones

Kind = Literal["email", "iban", "card", "national_id", "ip", "phone"]
KINDS: tuple[Kind, ...] = ("email", "iban", "card", "national_id", "ip", "phone")
"""All kinds. Where two claim the same characters, the one named first has them."""

_LOCAL = re.compile(r"\w[\w.+%'-]*$")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,24}(?![^\W_]|@|-\w|:[\w~/])")
_LONGEST_LOCAL = 64
_FILES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".css", ".js")
"""logo@2x.png is a picture."""
_STRETCH = re.compile(r"[0-9][0-9 A-Z.()/+-]{6}[0-9 A-Z.()/+-]*")
"""Where a number may be: a digit and what stands in numbers. One search for such places, and a look at them only, is 4 times as quick
as a search of the whole text for each kind of number."""
_LEFT, _RIGHT = 8, 3
"""Characters of a number that may stand before its first digit, and of what must not follow it."""
_IPV4 = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\w)")
_VERSION = re.compile(
    r"(?:\b(?:v|ver|versions?|releases?|builds?|firmware|patch|sections?|chapters?|clauses?|figures?|tables?|oid)\b|§|[=~<>]=)"
    r"(?:[\s.:,(\d–-]|\b(?:and|or|to|no|number|from)\b)*$",
    re.IGNORECASE,
)
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"[0-9A-Fa-f:]{3,39}(?:\.\d{1,3}){0,3}")
_HEX = frozenset("0123456789abcdefABCDEF")
_BEFORE = 50
"""Characters in which a word that speaks against an address is looked for."""


class PersonalData(TextStep):
    """Each thing found is replaced, and counted by its kind."""

    kinds: tuple[Kind, ...] = KINDS
    """What is looked for."""
    placeholders: dict[Kind, str] = Field(default={})
    """What stands in its place, by kind. Not named: <EMAIL>, <IBAN>, <CARD>, <NATIONAL_ID>, <IP>, <PHONE>."""
    regions: tuple[Annotated[str, Field(pattern="^[A-Z]{2}$")], ...] = (
        "US", "GB", "IE", "AU", "IN", "DE", "AT", "CH", "FR", "BE", "NL", "ES", "PT", "IT", "PL", "SE", "BR", "MX",
    )  # fmt: skip
    """Countries (ISO 3166) whose telephone numbers are found without the country's code; fewer are quicker and err less."""

    def judge(self, text: str) -> Judged:
        """The text with placeholders."""
        found = sorted(self._found(text))
        if not found:
            return Judged(text)
        parts, changed, free = [], dict.fromkeys(KINDS, 0), 0
        for start, end, kind in found:
            parts += [text[free:start], self.placeholders.get(kind, f"<{kind.upper()}>")]
            changed[kind] += 1
            free = end
        return Judged("".join([*parts, text[free:]]), changed={kind: count for kind, count in changed.items() if count})

    def _found(self, text: str) -> Iterator[tuple[int, int, Kind]]:
        """What is to be replaced, none overlapping another."""
        taken = bytearray(len(text))
        stretches = [(max(0, match.start() - _LEFT), match.end() + _RIGHT) for match in _STRETCH.finditer(text)]
        for kind in KINDS:
            for start, end in self._spans(kind, text, stretches) if kind in self.kinds else ():
                if 1 not in taken[start:end]:
                    taken[start:end] = b"\1" * (end - start)
                    yield start, end, kind

    def _spans(self, kind: Kind, text: str, stretches: list[Span]) -> Iterator[Span]:
        if kind == "email":
            yield from emails(text)
        if kind == "ip":
            yield from ipv6(text)
        for low, high in stretches if kind != "email" else ():
            yield from phones(text, low, high, self.regions) if kind == "phone" else _BY_STRETCH[kind](text, low, high)


def emails(text: str) -> Iterator[Span]:
    """Addresses with a domain that has a dot; git@host:path is a place on a server, and no person."""
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL.search(text, max(0, at - _LONGEST_LOCAL), at) if domain else None
        if domain and local and not domain[0].lower().endswith(_FILES):
            yield local.start(), domain.end()
        at = text.find("@", at + 1)


def ipv4(text: str, low: int, high: int) -> Iterator[Span]:
    """Four numbers up to 255 that nothing says to be a version or a section."""
    for match in _IPV4.finditer(text, low, high):
        start, end = match.span()
        whole = not re.search(r"[\w-]$|\w\.$", text[max(0, start - 2) : start])
        if whole and _is_ip(IPv4Address, match[0]) and not _VERSION.search(text[max(0, start - _BEFORE) : start]):
            yield start, end


def ipv6(text: str) -> Iterator[Span]:
    """Addresses with a decimal digit and four hexadecimal ones at least: less is a time, or :: in a program."""
    free = 0
    for colons in _COLONS.finditer(text):
        match = _IPV6.match(text, _back(text, colons.start(), free))
        if match is None or colons.start() < free:
            continue
        free = match.end()
        start, found = match.start(), match[0] if match[0].endswith("::") else match[0].rstrip(":")
        if _whole(text, start, start + len(found)) and _tells(found) and _is_ip(IPv6Address, found):
            yield start, start + len(found)


def _back(text: str, place: int, least: int) -> int:
    """Where the hexadecimal digits before a place begin."""
    while place > least and text[place - 1] in _HEX:
        place -= 1
    return place


def _whole(text: str, start: int, end: int) -> bool:
    return not re.search(r"[\w:.]$", text[max(0, start - 1) : start]) and not re.match(r"\w", text[end : end + 1])


def _tells(found: str) -> bool:
    return sum(each in _HEX for each in found) >= 4 and any(map(str.isdigit, found))


def _is_ip(kind: type[IPv4Address] | type[IPv6Address], found: str) -> bool:
    try:
        kind(found)
    except AddressValueError:
        return False
    return True


_BY_STRETCH: dict[Kind, Callable[[str, int, int], Iterator[Span]]] = {"iban": ibans, "card": cards, "national_id": national_ids, "ip": ipv4}
