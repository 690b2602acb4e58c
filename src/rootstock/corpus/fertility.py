"""How well a tokenizer fits texts, for each language: tokens per word, words kept whole, what it does not know.

Words are those of Unicode's word boundaries (UAX 29) that hold a letter or a digit. In scripts without spaces these are single characters
(Chinese, Thai): compare tokens per word between tokenizers there, not between languages; bytes per token compare everywhere.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import regex  # type: ignore[import-untyped]
from tokenizers import Encoding, Tokenizer

from rootstock.core.errors import DataError
from rootstock.corpus.labelled import labelled
from rootstock.corpus.pieces import stretches

_WORD = regex.compile(r"(?w)\b(?=\S).+?\b", regex.DOTALL)
_EXAMPLE = regex.compile(r"[\p{L}\p{M}'’]{1,30}")
"""Words that teach something when they are cut: no numbers, no junk."""
_LETTER = regex.compile(r"[\p{L}\p{N}]")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_AT_ONCE = 1_000_000
"""Characters encoded together: about 200 MB of encodings."""
_EXAMPLES = 5
_HELD = 1000


@dataclass
class Tally:
    """Sums over the texts of a language; every rate is divided once, when it is asked for.

    inside: tokens that touch a word. whole: words that are one known token. unknown: tokens that stand for something unknown.
    letters: how often each character occurs, spaces left out. split: words in most pieces, as they were cut.
    """

    texts: int = 0
    words: int = 0
    tokens: int = 0
    inside: int = 0
    whole: int = 0
    unknown: int = 0
    characters: int = 0
    bytes: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, text: str, encoding: Encoding, unknown: int | None) -> None:
        """Count a text, or a stretch of one, and its tokens (without special ones)."""
        ids, places = encoding.ids, encoding.offsets  # each access copies the whole list
        self.tokens += len(ids)
        self.unknown += sum(number == unknown for number in ids)
        self.characters += len(text)
        self.bytes += len(text.encode())
        self.letters.update(text)
        starts, ends = [start for start, _ in places], [end for _, end in places]
        for start, end in words(text):
            first, last = bisect_right(ends, start), bisect_left(starts, end)
            self.words += 1
            self.inside += last - first
            self.whole += last - first == 1 and ids[first] != unknown
            if last - first > 1 and _EXAMPLE.fullmatch(text, start, end):
                self.split[text[start:end]] = tuple(text[a:b].strip() for a, b in places[first:last])
        if len(self.split) > _HELD:
            self.split = dict(self.longest())

    def longest(self, count: int = _EXAMPLES) -> list[tuple[str, tuple[str, ...]]]:
        """The words in most pieces, then the longest, then by spelling."""
        return sorted(self.split.items(), key=lambda item: (-len(item[1]), -len(item[0]), item[0]))[:count]


def words(text: str) -> Iterator[tuple[int, int]]:
    """Where the words of a text begin and end."""
    return (found.span() for found in _WORD.finditer(text) if _LETTER.search(found[0]))


def measure(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]], *, most: int | None = None) -> dict[str, Tally]:
    """One tally for each language of (language, text) pairs, in order of the languages' names. most: texts to count of each language."""
    unknown = _unknown(tokenizer)
    tallies: dict[str, Tally] = defaultdict(Tally)
    for batch in _batches(texts, tallies, most):
        encodings = tokenizer.encode_batch([text for _, text in batch], add_special_tokens=False)
        for (language, text), encoding in zip(batch, encodings, strict=True):
            tallies[language].add(text, encoding, unknown)
    return dict(sorted(tallies.items()))


def _batches(texts: Iterable[tuple[str, str]], tallies: dict[str, Tally], most: int | None) -> Iterator[list[tuple[str, str]]]:
    held: list[tuple[str, str]] = []
    letters = 0
    for language, text in texts:
        if most is not None and tallies[language].texts >= most:
            continue
        tallies[language].texts += 1
        for part in stretches(text.encode(errors="replace").decode()):
            held.append((language, part))
            letters += len(part)
            if letters >= _AT_ONCE:
                yield held
                held, letters = [], 0
    if held:
        yield held


def _unknown(tokenizer: Tokenizer) -> int | None:
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] == "Unigram":
        number: int | None = model["unk_id"]
        return number
    return tokenizer.token_to_id(model.get("unk_token") or "")


def missing(tokenizer: Tokenizer, letters: Counter[str]) -> Counter[str]:
    """Characters that the tokenizer has no token for: unknown, replaced by bytes, or taken away."""
    unknown = _unknown(tokenizer)
    seen = [letter for letter in letters if not letter.isspace()]
    encodings = tokenizer.encode_batch(seen, add_special_tokens=False)
    lost = (letter for letter, encoding in zip(seen, encodings, strict=True) if _is_lost(encoding, unknown))
    return Counter({letter: letters[letter] for letter in lost})


def _is_lost(encoding: Encoding, unknown: int | None) -> bool:
    return not encoding.ids or unknown in encoding.ids or any(_BYTE.fullmatch(token) for token in encoding.tokens)


def report(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]], *, most: int | None = None) -> dict[str, Any]:
    """What measure() finds as JSON values; rates are None where there is nothing to divide by.

    Raises DataError where there is no text.
    """
    tallies = measure(tokenizer, texts, most=most)
    if not tallies:
        raise DataError("there is no text to report on", wanted="texts with words", fix="check the source")
    return {"size": tokenizer.get_vocab_size(), "languages": {name: _rates(tokenizer, tally) for name, tally in tallies.items()}}


def report_on(tokenizer: Tokenizer, reference: str, *, text: str | None = None, most: int | None = None) -> dict[str, Any]:
    """The report on a source or a built corpus, and what is broken in it. text: the field or column."""
    broken: Counter[str] = Counter()
    found = report(tokenizer, labelled(reference, text, broken, languages=True), most=most)
    return found | {"broken": dict(broken.most_common())}


def _rates(tokenizer: Tokenizer, tally: Tally) -> dict[str, Any]:
    lost = missing(tokenizer, tally.letters)
    visible = sum(count for letter, count in tally.letters.items() if not letter.isspace())
    return {
        "texts": tally.texts,
        "words": tally.words,
        "tokens": tally.tokens,
        "tokens_per_word": _share(tally.inside, tally.words),
        "characters_per_token": _share(tally.characters, tally.tokens),
        "bytes_per_token": _share(tally.bytes, tally.tokens),
        "whole_words": _share(tally.whole, tally.words),
        "unknown": _share(tally.unknown, tally.tokens),
        "alphabet": _share(visible - lost.total(), visible),
        "missing": dict(sorted(lost.items(), key=lambda item: (-item[1], item[0]))[:_EXAMPLES]),
        "missing_characters": len(lost),
        "split": [{"word": word, "pieces": list(pieces)} for word, pieces in tally.longest()],
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


_COLUMNS = {
    "texts": ("texts", "{:,}"),
    "words": ("words", "{:,}"),
    "tokens_per_word": ("tokens/word", "{:.3f}"),
    "characters_per_token": ("chars/token", "{:.2f}"),
    "bytes_per_token": ("bytes/token", "{:.2f}"),
    "whole_words": ("whole words", "{:.1%}"),
    "unknown": ("unknown", "{:.3%}"),
    "alphabet": ("alphabet", "{:.3%}"),
}
"""What the text shows of a language, and under which heading."""


def as_text(found: dict[str, Any]) -> str:
    """The report as a table, and for each language what is cut worst and what is missing."""
    lines = [f"{'language':<10}" + "".join(f"{heading:>13}" for heading, _ in _COLUMNS.values())]
    notes: list[str] = []
    for language, rates in found["languages"].items():
        cells = ("-" if rates[key] is None else shape.format(rates[key]) for key, (_, shape) in _COLUMNS.items())
        lines.append(f"{language or 'all':<10}" + "".join(f"{cell:>13}" for cell in cells))
        notes += _notes(language, rates)
    notes += [f"left out, {rule}: {count:,}" for rule, count in found.get("broken", {}).items()]
    return "\n".join([*lines, *notes])


def _notes(language: str, rates: dict[str, Any]) -> Iterator[str]:
    name = f"{language}: " if language else ""
    if rates["split"]:
        yield f"{name}in most pieces: " + ", ".join("|".join(each["pieces"]) for each in rates["split"])
    if rates["missing"]:
        shown = ", ".join(f"{letter!r} ({count:,})" for letter, count in rates["missing"].items())
        yield f"{name}{rates['missing_characters']:,} characters without a token of their own: {shown}"
