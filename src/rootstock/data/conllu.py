"""Treebanks in CoNLL-U (universaldependencies.org/format.html): sentences, the places of their words in the text, tags, documents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rootstock.core.errors import DataError
from rootstock.core.seed import stream
from rootstock.data import files

SPLITS = ("train", "dev", "test")
_COLUMNS = 10
_HELD_OUT = 0.15
"""Share of the documents of an undivided file that goes to dev, and again to test."""
_SUFFIXES = (".conllu", ".conllu.gz")


@dataclass(frozen=True)
class Sentence:
    """text: as it was written. spans: each word's first letter and the one behind its last. tags: UPOS. document: "" where none is named.

    Words of one contraction that do not spell it (French "du" is "de le") share its span.
    """

    text: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    document: str = ""


@dataclass(frozen=True)
class Treebank:
    """The three parts of a treebank. divided: how an undivided file was parted, "" where the treebank came divided."""

    parts: dict[str, tuple[Sentence, ...]]
    divided: str = ""


@dataclass
class _Draft:
    """A sentence while its lines are read. words_left: words of the open contraction, whose letters are already in the text."""

    text: str = ""
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    contraction: tuple[int, int] = (0, 0)
    last: int = 0
    space: bool = False

    def write(self, form: str, misc: str) -> tuple[int, int]:
        """Put a form behind the text so far; returns its span."""
        self.text += " " if self.space and self.text else ""
        start = len(self.text)
        self.text += form
        self.space = "SpaceAfter=No" not in misc.split("|")
        return start, len(self.text)

    def contract(self, form: str, misc: str, last: int) -> None:
        """A line 3-4: the letters of words 3 and 4, which follow."""
        self.contraction, self.last = self.write(form, misc), last

    def add(self, number: int, form: str, *, tag: str, misc: str) -> None:
        """A line of a word."""
        self.words.append(form)
        self.tags.append(tag)
        self.spans.append(self._inside(form, number) if number <= self.last else self.write(form, misc))

    def _inside(self, form: str, number: int) -> tuple[int, int]:
        """The word's letters in the open contraction, or the whole of it where the words do not spell it."""
        start, end = self.contraction
        before = self.spans[-1][1] if self.spans and start < self.spans[-1][1] < end else start
        until = end if number == self.last else before + len(form)
        return (before, until) if self.text[before:until] == form else (start, end)


def read(path: Path) -> tuple[Sentence, ...]:
    """The sentences of one file. Empty nodes (8.1) are left out. Raises DataError with the line for what is no CoNLL-U."""
    data, _ = files.fetch(path, str(path))
    text, _ = files.decode(data, str(path), encoding="utf-8")
    found = tuple(_sentences(text, str(path)))
    if not found:
        raise DataError(f"{path} holds no sentence", wanted="CoNLL-U: ten columns parted by tabs, a blank line after each sentence")
    return found


def treebank(place: Path, seed: int) -> Treebank:
    """A folder that holds one file each of train, dev and test in their names, or one file, which is parted by document with the seed."""
    if not place.is_dir():
        return _divide(read(place), seed)
    held = sorted(each for each in place.iterdir() if each.name.endswith(_SUFFIXES))
    chosen = {
        split: [each for each in held if split in each.name.removesuffix(".gz").removesuffix(".conllu").split("-")] for split in SPLITS
    }
    wrong = [f"{split}: {len(each)}" for split, each in chosen.items() if len(each) != 1]
    if wrong:
        raise DataError(
            f"{place} does not hold one file of each part ({', '.join(wrong)})",
            wanted="one …-train.conllu, one …-dev.conllu and one …-test.conllu, packed with gzip or not",
            fix="name a folder of one treebank, or a single file",
        )
    return Treebank({split: read(each[0]) for split, each in chosen.items()})


def holds_treebank(place: Path) -> bool:
    """Whether this looks like a treebank, by its names alone."""
    names = [each.name for each in place.iterdir()] if place.is_dir() else [place.name]
    return any(name.endswith(_SUFFIXES) for name in names)


def _divide(sentences: Sequence[Sentence], seed: int) -> Treebank:
    """Whole documents go to one part; without documents sentences do."""
    named = any(each.document for each in sentences)
    keys = [each.document if named else str(i) for i, each in enumerate(sentences)]
    order = list(dict.fromkeys(keys))
    stream(seed, "treebank").shuffle(order)
    few = max(1, round(_HELD_OUT * len(order)))
    if len(order) < 2 * few + 1:
        raise DataError(
            f"found {len(order)} documents", wanted="at least three, to part them", fix="give a folder with train, dev and test"
        )
    place = {key: "dev" if i < few else "test" if i < 2 * few else "train" for i, key in enumerate(order)}
    parts = {split: tuple(s for s, key in zip(sentences, keys, strict=True) if place[key] == split) for split in SPLITS}
    return Treebank(parts, f"parted by {'document' if named else 'sentence'} with the seed {seed}")


def _sentences(text: str, name: str) -> Iterator[Sentence]:
    draft, document = _Draft(), ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if line.startswith("#"):
            document = _document(line, document, number)
        elif line.strip():
            _take(draft, line, f"{name}, line {number}")
        elif draft.words:
            yield _whole(draft, document)
            draft = _Draft()
    if draft.words:
        yield _whole(draft, document)


def _document(comment: str, current: str, number: int) -> str:
    """The document that a comment opens, or the current one."""
    key, _, value = comment.lstrip("# ").partition("=")
    return (value.strip() or f"line {number}") if key.strip() in ("newdoc id", "newdoc") else current


def _take(draft: _Draft, line: str, where: str) -> None:
    columns = line.split("\t")
    if len(columns) != _COLUMNS:
        raise DataError(
            f"{where}: found {len(columns)} columns", wanted=f"{_COLUMNS}, parted by tabs", fix="see universaldependencies.org/format.html"
        )
    key, form, tag, misc = columns[0], columns[1], columns[3], columns[9]
    first, dash, last = key.partition("-")
    if "." in key:
        return
    if not first.isdigit() or (dash and not last.isdigit()):
        raise DataError(f"{where}: found {key[:40]!r} as a word's number", wanted="3, 3-4 or 3.1")
    if dash:
        draft.contract(form, misc, int(last))
    else:
        draft.add(int(first), form, tag=tag, misc=misc)


def _whole(draft: _Draft, document: str) -> Sentence:
    return Sentence(draft.text, tuple(draft.words), tuple(draft.tags), tuple(draft.spans), document)
