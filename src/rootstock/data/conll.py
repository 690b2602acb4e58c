"""CoNLL files: a word a line with its tags in columns, a blank line behind each sentence.

Read are the two to four columns of the shared tasks (CoNLL-2000, CoNLL-2003, WNUT: the word first, the tag last) and CoNLL-U's ten.
"""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.data.tables import Parsed, numbered

_UNIVERSAL = ("id", "words", "lemmas", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_RANGE = re.compile(r"\d+[-.]\d+")
_TAG = re.compile(r"O|[BIESLU]-\S+")
_DOCUMENT = "-DOCSTART-"

Sentence = tuple[int, list[list[str]]]
"""The line on which a sentence begins, and the fields of its words."""


def is_conll(text: str) -> bool:
    """Whether every line of a text is blank, or a word whose last field is a BIO tag; it takes two sentences to tell."""
    sample = text[:20_000].splitlines()[:-1][:400] or text.splitlines()
    words = [line for line in sample if line.strip() and not line.startswith((_DOCUMENT, "# "))]
    fields = [line.split() for line in words]
    return bool(words) and len(words) < len(sample) and all(len(each) > 1 and _TAG.fullmatch(each[-1]) for each in fields)


def read_conll(text: str, name: str) -> Parsed:
    """A table of sentences: words and tags as lists. Raises DataError for a line of another width, or without any sentence."""
    sentences = list(_sentences(text))
    if not sentences:
        raise DataError(f"{name} holds no sentences", wanted="a word and its tag a line, a blank line behind each sentence")
    width = len(sentences[0][1][0])
    for line, words in sentences:
        for place, fields in enumerate(words):
            if len(fields) != width or width < 2:
                wanted = f"{width} as in the first line" if width > 1 else "a word and its tag"
                raise DataError(f"{name}, line {line + place}: found {len(fields)} fields", wanted=wanted, fix="correct the line")
    names = _names(width)
    columns = {column: pa.array([[fields[i] for fields in words] for _, words in sentences]) for i, column in enumerate(names)}
    table, notes = numbered(pa.table(columns), np.array([line for line, _ in sentences], dtype=np.int64))
    return Parsed(table, "conll", (f"CoNLL, {len(sentences):,} sentences, columns {', '.join(names)}", *notes))


def _names(width: int) -> tuple[str, ...]:
    if width == len(_UNIVERSAL):
        return _UNIVERSAL
    return ("words", *(f"column_{place}" for place in range(2, width)), "tags")


def _sentences(text: str) -> Iterator[Sentence]:
    begun, words, universal = 0, list[list[str]](), False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            if words:
                yield begun, words
            words = []
        elif not words and line.startswith("# "):
            universal = True
        elif not line.startswith(_DOCUMENT) and not (universal and _RANGE.fullmatch(line.split("\t", 1)[0])):
            begun = begun if words else number
            words.append(line.split("\t") if "\t" in line else line.split())
    if words:
        yield begun, words
