"""Words that name groups of people, and texts in which one group stands in the place of another.

The lists are files in terms/; a person's own have the same form. A swap is one word or phrase for each group. The first that fits a place
is taken: `only_before` asks that the next word is in a list of the file, `unless_before` that a next word follows and is in none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rootstock.core.errors import DataError, UnknownName

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_FORM = "name, about, groups, swaps (one word for each group), and where wanted phrases, lists, asymmetric, source"
_BEGINS = re.compile(r"(?:^|[.!?:]['\"”’)]*\s+|\n)\W*$")
"""What stands before the first word of a sentence."""
_VOWEL = re.compile(r"(?!(?:eu|uni|use|one|ur))[aeiou]|hour|honest", re.IGNORECASE)
"""Beginnings after which English says an."""
_TEMPLATES = "templates"
_SLOT = "{person}"


@dataclass(frozen=True)
class Swap:
    """words: one for each group, in the order of the groups. only_before, unless_before: words that tell whether it fits, lower-case."""

    words: tuple[str, ...]
    only_before: frozenset[str] | None = None
    unless_before: frozenset[str] | None = None

    def fits(self, following: str | None) -> bool:
        """Whether it may stand before a word; None: a mark or the end follows."""
        if self.only_before is not None:
            return following is not None and following.lower() in self.only_before
        return self.unless_before is None or (following is not None and following.lower() not in self.unless_before)


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A place that names a group: first letter and the one after the last, the group's number, and the swap that it belongs to."""

    start: int
    end: int
    group: int
    swap: Swap


@dataclass(frozen=True)
class Attribute:
    """What groups differ in. phrases: by group, for templates. asymmetric: words beside which a swap may change what is true."""

    name: str
    about: str
    source: str
    groups: tuple[str, ...]
    swaps: tuple[Swap, ...]
    phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asymmetric: frozenset[str] = frozenset()

    @cached_property
    def _by_first(self) -> dict[str, list[tuple[tuple[str, ...], int, Swap]]]:
        """Phrases of words by their first word in lower case, the longest first, else in the order of the file."""
        found: dict[str, list[tuple[tuple[str, ...], int, Swap]]] = {}
        for swap in self.swaps:
            for group, phrase in enumerate(swap.words):
                words = tuple(_WORD.findall(phrase))
                found.setdefault(words[0].lower(), []).append((words, group, swap))
        return {first: sorted(held, key=lambda each: -len(each[0])) for first, held in found.items()}

    def mentions(self, text: str) -> list[Mention]:
        """Where a text names a group, from left to right, no two over one another."""
        places, found, i = list(_WORD.finditer(text)), list[Mention](), 0
        small = text == text.lower()
        while i < len(places):
            mention = self._at(text, places, i, small=small)
            if mention is not None:
                found.append(mention)
                while i < len(places) and places[i].start() < mention.end:
                    i += 1
            else:
                i += 1
        return found

    def _at(self, text: str, places: Sequence[re.Match[str]], i: int, *, small: bool) -> Mention | None:
        for words, group, swap in self._by_first.get(places[i][0].replace("’", "'").lower(), ()):
            last = i + len(words)
            if last > len(places) or not all(_same(places[i + k][0], word, small=small) for k, word in enumerate(words)):
                continue
            if not all(_adjoin(text, places[k], places[k + 1]) for k in range(i, last - 1)):
                continue
            following = places[last][0] if last < len(places) and _adjoin(text, places[last - 1], places[last]) else None
            if swap.fits(following):
                return Mention(start=places[i].start(), end=places[last - 1].end(), group=group, swap=swap)
        return None

    def is_asymmetric(self, text: str) -> bool:
        """Whether a word stands in it beside which a swap may change what is true of the text."""
        return bool(self.asymmetric) and any(word[0].lower() in self.asymmetric for word in _WORD.finditer(text))


def swapped(text: str, mentions: Sequence[Mention], into: Mapping[int, int]) -> str:
    """The text with each mention in the words of another group. into: group to group; others stay."""
    parts, at = list[str](), 0
    for each in mentions:
        if each.group not in into:
            continue
        own = each.swap.words[each.group]
        begins = own[0].islower() or _BEGINS.search(text[: each.start]) is not None
        word = _cased(each.swap.words[into[each.group]], like=text[each.start : each.end], begins=begins, small=text == text.lower())
        parts += [_article(text[at : each.start], word), word]
        at = each.end
    return "".join([*parts, text[at:]])


def filled(template: str, phrase: str) -> str:
    """A template with a phrase of a group, in capitals where a sentence begins."""
    return template.replace(_SLOT, phrase[0].upper() + phrase[1:] if template.startswith(_SLOT) else phrase)


def _same(met: str, word: str, *, small: bool) -> bool:
    """Whether a word of a text is one of a list; capitals of the list count where the text has any."""
    met = met.replace("’", "'")
    return met.lower() == word.lower() and (small or word == word.lower() or met[0].isupper())


def _adjoin(text: str, first: re.Match[str], second: re.Match[str]) -> bool:
    return text[first.end() : second.start()].isspace()


def _cased(word: str, *, like: str, begins: bool, small: bool) -> str:
    """begins: a capital of `like` is not its own, but that of a sentence or title."""
    if small:
        return word.lower()
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() and begins else word


def _article(before: str, word: str) -> str:
    """What stands before a word, with a or an as it asks."""
    found = re.search(r"\b(a)(n?)(\s+)$", before, re.IGNORECASE)
    if found is None:
        return before
    n = ("N" if found[1] + found[2] == "AN" else "n") if _VOWEL.match(word) else ""
    return f"{before[: found.start()]}{found[1]}{n}{found[3]}"


# -- files ------------------------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """Lists that the package brings."""
    return sorted(
        each.name.removesuffix(".yaml") for each in _folder().iterdir() if each.name.endswith(".yaml") and _TEMPLATES not in each.name
    )


def templates() -> tuple[str, ...]:
    """Neutral sentences with {person} in them."""
    return tuple(yaml.safe_load((_folder() / f"{_TEMPLATES}.yaml").read_text("utf-8"))["templates"])


def load(asked: Sequence[str] = ()) -> tuple[Attribute, ...]:
    """Attributes by the names of the package's lists or by paths of one's own files; all of the package's where none is named.

    Raises UnknownName or DataError.
    """
    return tuple(_one(each) for each in asked or names())


def _one(asked: str) -> Attribute:
    if asked in names():
        return read((_folder() / f"{asked}.yaml").read_text("utf-8"), asked)
    path = Path(asked).expanduser()
    if not path.is_file():
        raise UnknownName("list of terms", asked, names(), fix="name one of these, or a .yaml file of your own")
    try:
        return read(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error}", wanted="YAML") from None


def read(text: str, where: str) -> Attribute:
    """An attribute from YAML. Raises DataError for what is no list of terms."""
    try:
        held = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{where} is no YAML: {' '.join(str(error).split())}", wanted=f"YAML with {_FORM}") from None
    if not isinstance(held, dict):
        raise DataError(f"{where} holds no mapping", wanted=f"YAML with {_FORM}")
    known = {"name", "about", "source", "groups", "swaps", "phrases", "lists", "asymmetric"}
    if strange := sorted(str(each) for each in set(held) - known):
        raise DataError(f"{where} has the key {strange[0]!r}", wanted=_FORM, fix="remove it, or correct its spelling")
    groups = _words(held.get("groups"), f"{where}: groups", least=2)
    lists = _lists(held.get("lists") or {}, where)
    swaps = held.get("swaps")
    if not isinstance(swaps, list) or not swaps:
        raise DataError(f"{where}: swaps is {swaps!r}", wanted="a list of mappings, each with one word for each group")
    return Attribute(
        name=str(held.get("name") or Path(where).stem),
        about=str(held.get("about") or ""),
        source=" ".join(str(held.get("source") or "").split()),
        groups=groups,
        swaps=tuple(_swap(each, groups, lists, f"{where}: swap {number}") for number, each in enumerate(swaps, 1)),
        phrases=_phrases(held.get("phrases") or {}, groups, where),
        asymmetric=_lists({"asymmetric": held.get("asymmetric") or []}, where)["asymmetric"],
    )


def _lists(held: Any, where: str) -> dict[str, frozenset[str]]:
    if not isinstance(held, dict):
        raise DataError(f"{where}: lists is {held!r}"[:200], wanted="lists of words by name")
    return {str(name): frozenset(each.lower() for each in _words(words, f"{where}: {name}")) for name, words in held.items()}


def _swap(held: Any, groups: Sequence[str], lists: Mapping[str, frozenset[str]], where: str) -> Swap:
    conditions = {"only_before", "unless_before"}
    if not isinstance(held, dict) or set(held) - conditions != set(groups):
        said = sorted(map(str, held)) if isinstance(held, dict) else held
        raise DataError(f"{where} has {said}", wanted=f"one word for each of {', '.join(groups)}")
    words = _words([held[group] for group in groups], where, least=len(groups))
    if empty := next((word for word in words if not _WORD.search(word)), None):
        raise DataError(f"{where}: {empty!r} holds no word", wanted="letters")
    named = {key: held[key] for key in conditions if key in held}
    if strange := next((each for each in named.values() if each not in lists), None):
        raise DataError(f"{where}: there is no list {strange!r}", wanted=f"one of the file's lists: {', '.join(lists) or 'it has none'}")
    return Swap(words, **{key: lists[name] for key, name in named.items()})


def _phrases(held: Any, groups: Sequence[str], where: str) -> dict[str, tuple[str, ...]]:
    if not held:
        return {}
    if not isinstance(held, dict) or set(held) != set(groups):
        raise DataError(f"{where}: phrases are not of these groups", wanted=f"a list for each of {', '.join(groups)}")
    found = {group: _words(held[group], f"{where}: phrases: {group}", least=1) for group in groups}
    if len({len(each) for each in found.values()}) > 1:
        raise DataError(f"{where}: groups have different numbers of phrases", wanted="as many of each, in the same order")
    return found


def _words(held: Any, where: str, least: int = 0) -> tuple[str, ...]:
    if not isinstance(held, list):
        raise DataError(f"{where} is {held!r}"[:200], wanted="a list of words")
    if strange := [each for each in held if not isinstance(each, str) or not each.strip()]:
        raise DataError(f"{where} holds {strange[0]!r}", wanted="words", fix="put yes, no, on, off and numbers in quotes")
    if len(held) < least:
        raise DataError(f"{where} has {len(held)} words", wanted=f"{least} or more")
    return tuple(held)


def _folder() -> Any:
    return resources.files("rootstock.evaluation.bias") / "terms"
