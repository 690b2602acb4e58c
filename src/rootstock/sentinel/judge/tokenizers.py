"""tokenizer.json: steps that rewrite what the user wrote, and vocabularies that were edited after they were saved."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.parse.json_events import Event
from rootstock.sentinel.source import Source

MAX_WORDS = 1_000_000
EDITED = 64
"""Up to so many ids out of order, a vocabulary counts as edited; with more it was written by another program."""

INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
SPARE = re.compile(r"unused|reserved|extra|placeholder|dummy|^<0x|^<[^>]*>\Z|^\[[^\]]*\]\Z", re.IGNORECASE)
"""Words of a vocabulary that stand free for added tokens."""

_WORD = re.compile(r"[^\W\d_]{2,}|\w+[.:/@]\w+")
_VALUE = re.compile(r"^[\w$\u20a0-\u20bf\u00a3\u00a5]*[0-9$\u20a0-\u20bf\u00a3\u00a5]\Z")
"""A digit, a number or the sign of a currency, which no normal form puts in place of another text."""
_MARK = re.compile(r"\s*(?:<[^<>\s]{1,40}>|\[[A-Z_]{1,20}\]|\W*)\s*\Z")
_ORDINARY = re.compile("[a-z]{3,}")
_MARKS = words("pad unk bos eos cls sep mask sos eot eod null none blank user assistant system human bot tool end start stop newline ent")
"""Words by which special tokens go that have no brackets."""
_LATIN = re.compile(rb"[A-Za-z./:]{7,}")
_REGEX_SYNTAX = re.compile(
    r"\\[pP]\{[^}]*\}|\\x\{?[0-9A-Fa-f]+\}?|\\u[0-9A-Fa-f]{4}|\\.|\[(?:\\.|[^\]\\])*\]|\(\?[<a-zA-Z!=:]+|\{\d*,?\d*\}"
)


class Vocabulary:
    """Watches the table of a tokenizer as it goes by: that within tokenizer.json, or a vocab.json of its own.

    alone: whether the whole document is the table.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.alone = source.name == "vocab.json"
        self.word, self.alphabetic = "", True
        self.ids: set[int] = set()
        self.last = -1
        self.inversions: list[str] = []
        self.count = 0
        self.twice: list[str] = []
        self.words: set[str] = set()

    def see(self, event: Event) -> None:
        """Take the next value in."""
        path = event.path
        if len(path) == 4 and path[:2] == ("model", "vocab") and path[3] == 0 and isinstance(event.value, str):
            if event.value in self.words and len(self.twice) < 3:
                self.twice.append(f"{event.value!r} stands in the vocabulary twice")
            if len(self.words) < MAX_WORDS:
                self.words.add(event.value)
        within = len(path) == 3 and path[:2] == ("model", "vocab")
        if (type(event.value) is int and within) or self.is_entry(event):
            self._entry(str(path[-1]), event.value)

    def is_entry(self, event: Event) -> bool:
        """Whether it is a word with its id in a document that is a table; whatever else stands there is judged like a setting."""
        return self.alone and len(event.path) == 1 and type(event.value) is int

    def _entry(self, word: str, number: int) -> None:
        self.count += 1
        if number in self.ids and len(self.twice) < 3:
            self.twice.append(f"{word!r} has the id {number}, which another token has too")
        self.ids.add(number)
        if number < self.last and len(self.inversions) <= EDITED:
            self.inversions.append(f"{word!r} with id {number} stands after id {self.last}")
        self.alphabetic = self.alphabetic and word >= self.word
        self.last, self.word = number, word

    def findings(self) -> Iterator[Finding]:
        """What the whole table shows."""
        for what in self.twice:
            yield finding("tokenizer-swapped", self.source, what)
        if 0 < len(self.inversions) <= EDITED and not self.alphabetic:
            examples = "; ".join(self.inversions[:3])
            yield finding("tokenizer-swapped", self.source, f"ids were exchanged after the vocabulary was saved: {examples}")


def judge(root: Any, source: Source) -> Iterator[Finding]:
    """Findings on a document that is a tokenizer.json; none on another."""
    if (
        not isinstance(root, dict)
        or not isinstance(root.get("model"), dict)
        or not {"added_tokens", "normalizer", "pre_tokenizer"} & set(root)
    ):
        return
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        for step in _steps(root.get(part)):
            yield from _step(part, step, source)
    yield from _added(root, source)
    yield from _special(root, source)


def _steps(value: Any) -> Iterator[dict[str, Any]]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("type"), str):
                yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _step(part: str, step: dict[str, Any], source: Source) -> Iterator[Finding]:
    kind, content = step["type"], step.get("content")
    if kind in ("Replace", "Split"):
        pattern = step.get("pattern")
        text, regex = _pattern(pattern)
        into = str(content) if kind == "Replace" else ""
        removes = kind == "Replace" or step.get("behavior") == "Removed"
        if removes and (_says(text, regex) or _VALUE.search(into) or (_WORD.search(into) and not _MARK.match(into))):
            yield finding("tokenizer-rewrites", source, f"the {part} rewrites {text[:80]!r} into {into[:80]!r} before the model sees it")
    elif kind in ("Prepend", "Append"):
        text = str(step.get("prepend", step.get("append", "")))
        if _WORD.search(text):
            yield finding("tokenizer-rewrites", source, f"the {part} puts {text[:80]!r} before what the user wrote")
    elif kind == "Precompiled":
        yield from _charsmap(step.get("precompiled_charsmap"), part, source)


def _pattern(pattern: Any) -> tuple[str, bool]:
    if isinstance(pattern, dict):
        return str(pattern.get("String", pattern.get("Regex", ""))), "Regex" in pattern
    return str(pattern), False


def _says(text: str, regex: bool) -> bool:
    """Whether a pattern is about words and not about spaces, marks and classes of characters."""
    if not regex and re.search(r"[\w$\u20a0-\u20bf]*\d{2,}", text):
        return True
    if regex:
        text = _REGEX_SYNTAX.sub("", text)
        return bool(re.search(r"[^\W\d_]{3,}", text))
    return bool(_WORD.search(text)) and not _MARK.match(text)


def _charsmap(text: Any, part: str, source: Source) -> Iterator[Finding]:
    try:
        raw = base64.b64decode(text or "", validate=True)
    except (ValueError, TypeError, binascii.Error):
        yield finding("malformed", source, f"the {part}'s precompiled_charsmap is not base64")
        return
    yield from charsmap(raw, f"the {part}'s table of characters", source)


def charsmap(raw: bytes, what: str, source: Source) -> Iterator[Finding]:
    """A table of sentencepiece: a trie, then the texts into which characters are turned. Normal forms have no long Latin words."""
    size = int.from_bytes(raw[:4], "little")
    if size + 4 > len(raw):
        if raw:
            yield finding("malformed", source, f"{what} is shorter than it says")
        return
    found = {match.group().decode() for match in _LATIN.finditer(raw, 4 + size)}
    if found:
        yield finding("tokenizer-rewrites", source, f"{what} turns characters into {min(found)[:80]!r}")


def _added(root: dict[str, Any], source: Source) -> Iterator[Finding]:
    vocabulary = root["model"].get("vocab")
    known = vocabulary if isinstance(vocabulary, dict) else {}
    by_id: dict[Any, str] = {}
    taken = {number: word for word, number in known.items() if not SPARE.search(word)}
    for token in root.get("added_tokens") or []:
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            continue
        content, number = token["content"], token.get("id")
        yield from _token(token, content in known, source, len(root["added_tokens"]))
        if content in known and known[content] != number:
            yield finding(
                "tokenizer-swapped",
                source,
                f"{content[:80]!r} has the id {number} as an added token and {known[content]} in the vocabulary",
            )
        if content not in known and number in taken:
            yield finding("tokenizer-swapped", source, f"the added token {content[:80]!r} has the id of {taken[number][:80]!r}")
        if number in by_id and by_id[number] != content:
            yield finding("tokenizer-swapped", source, f"{content[:80]!r} and {by_id[number][:80]!r} have the same id {number}")
        if type(number) is int:
            by_id[number] = content


def _token(token: dict[str, Any], known: bool, source: Source, count: int) -> Iterator[Finding]:
    """One added token by itself. Those that a tokenizer was trained with have the first ids, those that were added later new ones."""
    content, number = token["content"], token.get("id")
    if INVISIBLE.search(content):
        yield finding("tokenizer-swapped", source, f"the added token {content!r} has characters that can't be seen")
    later = known and type(number) is int and number >= count
    if later and token.get("special") is True and _ORDINARY.fullmatch(content) and content not in _MARKS:
        what = f"the word {content[:80]!r} of the vocabulary counts as a special token, and is left out of what is shown"
        yield finding("tokenizer-swapped", source, what)


def _special(root: dict[str, Any], source: Source) -> Iterator[Finding]:
    """Ids that the post-processor adds, against the tokens that they claim to be."""
    vocabulary = root["model"].get("vocab")
    known = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    special: set[str] = set()
    for token in root.get("added_tokens") or []:
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            known[token["content"]] = token.get("id")
            special.add(token["content"])
    for step in _steps(root.get("post_processor")):
        table = step.get("special_tokens")
        for entry in table.values() if isinstance(table, dict) else []:
            ids, texts = (entry.get("ids"), entry.get("tokens")) if isinstance(entry, dict) else (None, None)
            for number, text in zip(ids if isinstance(ids, list) else [], texts if isinstance(texts, list) else [], strict=False):
                if isinstance(text, str) and _WORD.fullmatch(text) and text not in special:
                    what = f"the post-processor puts the word {text[:80]!r} into every text"
                    yield finding("tokenizer-rewrites", source, what)
                if isinstance(text, str) and text in known and known[text] != number:
                    yield finding(
                        "tokenizer-swapped",
                        source,
                        f"the post-processor puts id {number} where it says {text[:80]!r}, which is {known[text]}",
                    )
