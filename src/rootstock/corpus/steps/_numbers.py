"""Numbers that name a person or an account, found in running text: cards, IBANs, national ids.

A number counts only where its check digits are right. One check digit still lets every tenth number pass, so forms that other numbers have
too (a plain row of digits) need a word nearby that says what they are; forms of their own (123-45-6789) do not.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from rootstock.core.modules import needed

Span = tuple[int, int]
"""Where in a text something stands: [start, end)."""

_CARD = re.compile(
    r"(?:[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3\d{3}([ -])\d{6}\2\d{4,5}|[2-6]\d{12,18})(?!\d)"  # 4-4-4-4-3, 4-6-5, plain
)
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720|220[0-4])\d{12}"  # Mastercard, Mir
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"  # American Express, Diners, JCB
    r"|6(?:011|4[4-9]\d|5\d\d|2\d\d)\d{12,15}|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}"  # Discover, UnionPay, Maestro
)
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}")

_SOCIAL, _NHS, _STEUER = r"ssn|social security", r"nhs", r"steuer|id-?nr|\btin\b|tax id"
_FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "ssn": (r"\d{3}-\d{2}-\d{4}", {"us.ssn": ""}),
    "spaced": (r"\d{3} \d{2} \d{4}", {"us.ssn": _SOCIAL}),
    "nhs": (r"\d{3}[ -]\d{3}[ -]\d{4}", {"gb.nhs": _NHS}),
    "dni": (r"(?:\d{8}|\d{2}\.\d{3}\.\d{3})-?[A-Z]", {"es.dni": ""}),
    "nie": (r"[XYZ]-?\d{7}-?[A-Z]", {"es.nie": ""}),
    "fiscale": (r"[A-Z]{6} ?[0-9L-V]{2}[A-EHLMPRST][0-9L-V]{2} ?[A-Z][0-9L-V]{3}[A-Z]", {"it.codicefiscale": ""}),
    "idnr": (r"\d{2}[ /]\d{3}[ /]\d{3}[ /]\d{3}", {"de.idnr": _STEUER}),
    "nir": (r"[1-478] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", {"fr.nir": ""}),
    "bsn": (r"\d{4}\.\d{2}\.\d{3}", {"nl.bsn": r"bsn|burgerservice|sofi"}),
    "cpf": (r"\d{3}\.\d{3}\.\d{3}-\d{2}", {"br.cpf": ""}),
    "aadhaar": (r"[2-9]\d{3}(?: \d{4} |-\d{4}-)\d{4}", {"in_.aadhaar": ""}),
    "personnummer": (r"(?:\d{2})?\d{6}[-+]\d{4}", {"se.personnummer": ""}),
    "plain": (
        r"\d{9,12}",
        {
            "us.ssn": _SOCIAL,
            "gb.nhs": _NHS,
            "de.idnr": _STEUER,
            "nl.bsn": r"bsn|burgerservice|sofi",
            "pl.pesel": r"pesel",
            "br.cpf": r"cpf",
            "in_.aadhaar": r"aadh?aa?r|uidai",
            "se.personnummer": r"person(?:lig|al)?[ -]?(?:nummer|nr|number)",
        },
    ),
}
"""Forms of national ids; for each the checks that it may pass, and the words of which one must stand nearby ("": none)."""

_ANY_ID = r"national id|identity (?:card|number|no)|identification n|citizen|tax(?:payer)? (?:id|n)|insurance n|social security"
_ID = re.compile("(?:" + "|".join(f"(?P<{name}>{form})" for name, (form, _) in _FORMS.items()) + r")(?!\w)")
_BEFORE, _AFTER = 40, 20
"""Characters in which a word that explains a number is looked for."""


def cards(text: str, low: int, high: int) -> Iterator[Span]:
    """Numbers of payment cards: an issuer's prefix and length, and the Luhn check."""
    for match in _CARD.finditer(text, low, high):
        digits = re.sub(r"\D", "", match[0])
        if alone(text, *match.span()) and _ISSUERS.fullmatch(digits) and check("luhn", digits):
            yield match.span()


def ibans(text: str, low: int, high: int) -> Iterator[Span]:
    """Account numbers: the country's length and form, and the remainder by 97."""
    for match in _IBAN.finditer(text, low, high):
        ends = (end for end in range(match.end(), match.start() + 14, -1) if alone(text, match.start(), end))
        end = next((end for end in ends if check("iban", text[match.start() : end], check_country=False)), None)
        if end:
            yield match.start(), end


def national_ids(text: str, low: int, high: int) -> Iterator[Span]:
    """Numbers that a state gave a person, of the countries in the table."""
    for match in _ID.finditer(text, low, high):
        start, end = match.span()
        if not alone(text, start, end):
            continue
        compact = re.sub(r"[ ./]", "", match[0])
        near = text[max(0, start - _BEFORE) : start] + " " + text[end : end + _AFTER]
        checks = _FORMS[str(match.lastgroup)][1]
        if any(_explained(cue, near) and check(name, compact) for name, cue in checks.items()):
            yield start, end


def alone(text: str, start: int, end: int) -> bool:
    """Whether a number is whole: no letter, digit or joint next to it makes it a piece of something longer."""
    found = text[start:end]
    before, after = text[max(0, start - 2) : start][::-1], text[end : end + 2]
    return not (_joined(before, found) or _joined(after, found))


def _joined(outside: str, found: str) -> bool:
    """outside: the next character, and the one beyond."""
    joint, beyond = outside[:1], outside[1:2]
    if joint.isalnum() or joint == "_":
        return True
    if joint == "-":
        return beyond.isalnum()
    return beyond.isdigit() and (joint in ".:" or (joint == "," and found.isdigit()) or (joint == " " and " " in found))


def _explained(cue: str, near: str) -> bool:
    return not cue or bool(re.search(f"{cue}|{_ANY_ID}", near, re.IGNORECASE))


@cache
def _checker(name: str) -> Any:
    return needed(f"stdnum.{name}", "personal data")


def check(name: str, number: str, **more: bool) -> bool:
    """Whether a number passes a check of python-stdnum, such as "luhn" or "us.ssn"."""
    return bool(_checker(name).is_valid(number, **more))
