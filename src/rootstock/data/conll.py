"""CoNLL files: a word a line with its tags in columns, a blank line behind each sentence.

Read are the two to four columns of the shared tasks (CoNLL-2000, CoNLL-2003, WNUT: the word first, the tag last) and CoNLL-U's ten.
"""

import re
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.data.tables import Parsed, numbered

_UNIVERSAL = ("id", "words", "lemmas", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_RANGE = re.compile(r"\d+[-.]\d+")
_BREAK, _BLANKS = re.compile(r"\r\n?|\n"), re.compile(r"[ \t]+")
"""Not splitlines and split: a word of a tweet may hold U+2028 or a no-break space."""
_TAG = re.compile(r"O|[BIESLU]-\S+")
_DOCUMENT = "-DOCSTART-"

Sentence = list[tuple[int, list[str]]]
"""The fields of each word, and the line on which it stands."""


def is_conll(text: str) -> bool:
    """Whether every line of a text is blank, or a word whose last field is a BIO tag; it takes two sentences to tell."""
    sample = _BREAK.split(text[:20_000])[:-1][:400] or _BREAK.split(text)
    words = [line for line in sample if line.strip() and not line.startswith((_DOCUMENT, "# "))]
    fields = [_fields(line) for line in words]
    return bool(words) and len(words) < len(sample) and all(len(each) > 1 and _TAG.fullmatch(each[-1]) for each in fields)


def read_conll(text: str, name: str) -> Parsed:
    """A table of sentences: words and tags as lists. Raises DataError for a line of another width, or without any sentence."""
    sentences = list(_sentences(text))
    if not sentences:
        raise DataError(f"{name} holds no sentences", wanted="a word and its tag a line, a blank line behind each sentence")
    width = len(sentences[0][0][1])
    for line, fields in chain.from_iterable(sentences):
        if len(fields) != width or width < 2:
            wanted = f"{width} as in the first line" if width > 1 else "a word and its tag"
            found = f"{len(fields)} field{'s' if len(fields) > 1 else ''}"
            raise DataError(f"{name}, line {line}: found {found}", wanted=wanted, fix="correct the line")
    names = _names(width)
    columns = {column: pa.array([[fields[i] for _, fields in words] for words in sentences]) for i, column in enumerate(names)}
    table, notes = numbered(pa.table(columns), np.array([words[0][0] for words in sentences], dtype=np.int64))
    return Parsed(table, "conll", (f"CoNLL, {len(sentences):,} sentences, columns {', '.join(names)}", *notes))


def _names(width: int) -> tuple[str, ...]:
    if width == len(_UNIVERSAL):
        return _UNIVERSAL
    return ("words", *(f"column_{place}" for place in range(2, width)), "tags")


def _fields(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else _BLANKS.split(line.strip(" "))


def _sentences(text: str) -> Iterator[Sentence]:
    """Before a sentence, "# …" is a comment unless a tag ends it, as it does for the word #. Only a treebank's ten fields have ranges."""
    words = Sentence()
    for number, line in enumerate(_BREAK.split(text), 1):
        fields = _fields(line)
        if not line.strip():
            if words:
                yield words
            words = []
        elif not words and line.startswith("# ") and not _TAG.fullmatch(fields[-1]):
            continue
        elif not line.startswith(_DOCUMENT) and not (len(fields) == len(_UNIVERSAL) and _RANGE.fullmatch(fields[0])):
            words.append((number, fields))
    if words:
        yield words
