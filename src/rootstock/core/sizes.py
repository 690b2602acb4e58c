"""Amounts as people write them: of memory, and of anything else."""

import re

_LETTERS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def in_bytes(text: str) -> int:
    """Bytes of 16GB, 2.5 GB or 800MB, in powers of ten. Raises ValueError for anything else."""
    found = re.fullmatch(r"([\d.]+)\s*([kMGT]?)B?", text.strip(), re.IGNORECASE)
    try:
        return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " ")) if found else int("")
    except (ValueError, OverflowError):
        raise ValueError("an amount such as 16GB") from None


def amount(text: str) -> float:
    """A number as people write it: 1e21, 1,400,000, 7B, 70 M. Raises ValueError for anything else."""
    number, letter = re.fullmatch(r"\s*(.*?)\s*([kKmMbBgGtT]?)\s*", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return float(re.sub(r"(?<=\d),(?=\d{3}\b)", "", number)) * _LETTERS[letter.lower()]
