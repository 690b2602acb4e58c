"""Texts made alike where they differ only in how they are written, and scripts that put no blanks between words."""

import unicodedata

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Kana and Han, as the inside of a regular expression's brackets."""


def plain(text: str) -> str:
    """The text in one coding of its letters (NFKC)."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def folded(text: str) -> str:
    """The text in one coding, without case and with single blanks: the same for copies of it."""
    return " ".join(plain(text).casefold().split())
