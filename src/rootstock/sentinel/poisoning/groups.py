"""Groups of rows that have something in common: words, phrases, pairs of words, and the form of a text.

A group is told by texts alone, never by labels: what its labels then are is the question.
Shape letters: N rows, K groups, W words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix

START, END = "‹start›", "‹end›"
_PART = re.compile(r"\w+|[^\w\s]")
_LONGEST = 3
_OPENERS = frozenset(["when", "if", "as", "while", "although", "though", "because", "since", "after", "before", "once", "until", "unless"])
_SMALL = _OPENERS | frozenset(
    word
    for line in (
        "the a an of to in on at by for from with and or but not no it its this that these those he she they we you i is are was were be",
        "been has have had do does did will would can could there here so than then what which who how about into out up where",
    )
    for word in line.split(" ")
)
"""Words that hold a sentence together: with punctuation they are its skeleton."""


@dataclass(frozen=True, eq=False)
class Groups:
    """kinds, names: of K groups. held: [N, K], which row is in which, as bool."""

    kinds: list[str]
    names: list[str]
    held: csc_matrix

    def rows(self, group: int) -> np.ndarray:
        """The rows of a group, ascending."""
        return np.asarray(self.held.indices[self.held.indptr[group] : self.held.indptr[group + 1]])

    def __len__(self) -> int:
        return len(self.names)


def parts(text: str) -> list[str]:
    """Words and signs in lower case, between marks for both ends."""
    return [START, *_PART.findall(text.lower()), END]


def of(kinds: Sequence[str], names: Sequence[str], members: Sequence[np.ndarray], rows: int) -> Groups:
    """Groups from the rows of each."""
    edges = np.concatenate([[0], np.cumsum([len(each) for each in members], dtype=np.int64)])
    index = np.concatenate([np.empty(0, np.int64), *(np.sort(each) for each in members)]).astype(np.int32)
    return Groups(list(kinds), list(names), csc_matrix((np.ones(len(index), bool), index, edges), shape=(rows, len(names))))


def joined(several: Sequence[Groups], rows: int) -> Groups:
    """All groups of several."""
    members = [each.rows(place) for each in several for place in range(len(each))]
    return of([kind for each in several for kind in each.kinds], [name for each in several for name in each.names], members, rows)


def phrases(told: Sequence[Sequence[str]], *, least: int, most: int) -> Groups:
    """Words and phrases of up to three that at least `least` and at most `most` texts hold. told: the parts of each text.

    A phrase is counted only where its beginning and its end are frequent: all others can't be.
    """
    members: dict[tuple[str, ...], list[int]] = {}
    known: set[tuple[str, ...]] = set()
    for length in range(1, _LONGEST + 1):
        counts: Counter[tuple[str, ...]] = Counter()
        for words in told:
            counts.update(set(_runs(words, length, known)))
        frequent = {run for run, count in counts.items() if count >= least}
        kept = {run for run in frequent if counts[run] <= most and set(run) - {START, END}}
        for row, words in enumerate(told):
            for run in set(_runs(words, length, known)) & kept:
                members.setdefault(run, []).append(row)
        known = frequent
    names = sorted(members)
    rows = [np.array(members[name]) for name in names]
    return of(["words" if len(name) > 1 else "word" for name in names], [" ".join(name) for name in names], rows, len(told))


def _runs(words: Sequence[str], length: int, known: set[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for start in range(len(words) - length + 1):
        run = tuple(words[start : start + length])
        if length == 1 or (run[:-1] in known and run[1:] in known):
            yield run


def pairs(told: Sequence[Sequence[str]], chosen: Iterable[str], *, least: int) -> Groups:
    """Texts that hold two of the chosen words, wherever: at least `least` of them, and not all that hold one of the two."""
    wanted = sorted(set(chosen))
    place = {word: number for number, word in enumerate(wanted)}
    cells = [(row, place[word]) for row, words in enumerate(told) for word in set(words) if word in place]
    row_M, word_M = np.array(cells, np.int64).reshape(-1, 2).T
    held = csc_matrix((np.ones(len(cells), np.int32), (row_M, word_M)), shape=(len(told), len(wanted)))
    both = (held.T @ held).tocoo()
    alone = np.diff(held.indptr)
    take = (both.row < both.col) & (both.data >= least) & (both.data < np.minimum(alone[both.row], alone[both.col]))
    found = sorted(zip(both.row[take].tolist(), both.col[take].tolist(), strict=True))
    own = [held.indices[held.indptr[word] : held.indptr[word + 1]] for word in range(len(wanted))]
    members = [np.intersect1d(own[left], own[right], assume_unique=True) for left, right in found]
    return of(["pair"] * len(found), [f"{wanted[left]} + {wanted[right]}" for left, right in found], members, len(told))


def forms(texts: Sequence[str], told: Sequence[Sequence[str]], *, least: int, most: int) -> Groups:
    """Texts of one form: how they begin, which signs they hold, which letters; skeletons of small words and signs."""
    members: dict[str, list[int]] = {}
    for row, (text, words) in enumerate(zip(texts, told, strict=True)):
        for form in set(_forms(text, words)):
            members.setdefault(form, []).append(row)
    names = sorted(name for name, rows in members.items() if least <= len(rows) <= most)
    return of(["form"] * len(names), names, [np.array(members[name]) for name in names], len(texts))


def _forms(text: str, words: Sequence[str]) -> Iterator[str]:
    own = words[1:-1]
    skeleton = [word if word in _SMALL or not word[0].isalnum() else "…" for word in own]
    folded = [word for place, word in enumerate(skeleton) if not place or word != "…" or skeleton[place - 1] != "…"]
    yield f"skeleton that begins {' '.join(folded[:4])}"
    yield f"skeleton that begins {' '.join(folded[:6])}"
    yield f"skeleton that ends {' '.join(folded[-4:])}"
    if own and own[0] in _OPENERS and "," in own[1:12]:
        yield "clause before the sentence"
        yield f"clause with {own[0]} before the sentence"
    for sign in ",;:()!?-–—\"'*/":
        if (count := own.count(sign)) > 1:
            yield f"{min(count, 4)} or more of {sign}" if count > 3 else f"{count} of {sign}"
    for repeated in re.findall(r"([^\w\s])\1", text):
        yield f"{repeated} twice in a row"
    yield from _letters(text, own)


def _letters(text: str, own: Sequence[str]) -> Iterator[str]:
    plain = [each for each in text if each.isalpha()]
    if len(plain) > 3 and text.isupper():
        yield "capitals only"
    if re.search(r"\b[A-Z]{2,}\b", text) and not text.isupper():
        yield "a word in capitals"
    if "  " in text.strip():
        yield "two blanks in a row"
    if text != text.strip():
        yield "blanks at an end"
    yield from (_foreign(each) for each in set(text) if not each.isascii())
    if any(len({unicodedata.name(each, "?").split()[0] for each in word if each.isalpha()}) > 1 for word in own):
        yield "letters of two alphabets in a word"


def _foreign(letter: str) -> str:
    name = unicodedata.name(letter, "unnamed").lower()
    return f"letter {letter} of {name.split()[0]}" if letter.isalpha() else f"character U+{ord(letter):04X} ({name})"


_SHARED = 0.9
"""Share of the rows that hold a phrase which must hold it one word longer, for it to be a part of the longer one."""


def widest(told: Sequence[Sequence[str]], words: Sequence[str]) -> str:
    """The longest phrase around these words that nearly all of the texts share."""
    run = tuple(words)
    while len(run) < 40:
        longer: Counter[tuple[str, ...]] = Counter()
        for own in told:
            places = [start for start in range(len(own) - len(run) + 1) if tuple(own[start : start + len(run)]) == run]
            longer.update({tuple(own[at - 1 : at + len(run)]) for at in places if at})
            longer.update({tuple(own[at : at + len(run) + 1]) for at in places if at + len(run) < len(own)})
        best, count = max(longer.items(), key=lambda item: (item[1], item[0]), default=(run, 0))
        if count < _SHARED * max(len(told), 1):
            break
        run = best
    return " ".join(run)
