"""JSON as a stream of events with byte offsets: bounded memory for any size, every key seen, also one that occurs twice."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.source import Source

CHUNK_BYTES = 1 << 20
MAX_DEPTH = 256
MAX_TOKEN = 8 << 20
"""Bytes of the longest single text."""

_TOKEN = re.compile(
    rb'[ \t\r\n]*(?:([\[\]{}:,])|("[^"\\]*(?:\\.[^"\\]*)*")|(-?(?:NaN|Infinity|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|true|false|null)|(\Z))',
    re.DOTALL,
)
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_SIMPLE = rb"[ \t\r\n]*(" + _TEXT + rb"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null)[ \t\r\n]*(?=,)"
_MEMBER = re.compile(rb",[ \t\r\n]*(" + _TEXT + rb")[ \t\r\n]*:" + _SIMPLE, re.DOTALL)
_ITEM = re.compile(rb"," + _SIMPLE, re.DOTALL)
"""Many plain values in a row, as in a vocabulary, are taken by one match each."""

_DECODER = json.JSONDecoder(strict=False)
_WORDS = {b"true": True, b"false": False, b"null": None, b"NaN": float("nan"), b"Infinity": float("inf"), b"-Infinity": float("-inf")}
Kind = Literal["start", "end", "value"]
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """kind: start and end of an object or list, or a value. path: keys and positions down to it. twice: its key was there before."""

    kind: Kind
    path: Path
    value: Any
    offset: int
    twice: bool = False


def events(source: Source, context: Context) -> Iterator[Event]:
    """Every value in order, over several documents too (as in .jsonl). Raises Malformed for what is no JSON, LimitReached at a limit."""
    tokens = _Tokens(source, context)
    while (token := tokens.next()) is not None:
        yield from _document(token, tokens)


@dataclass(slots=True)
class _Open:
    """One object or list that is not closed yet."""

    path: Path
    keys: set[str] | None
    count: int = 0


def _document(token: bytes, tokens: "_Tokens") -> Iterator[Event]:
    stack: list[_Open] = []
    path: Path = ()
    twice = False
    while True:
        if token in (b"{", b"["):
            if len(stack) >= MAX_DEPTH:
                raise LimitReached(f"values more than {MAX_DEPTH} deep in one another", rule_id="nesting", offset=tokens.offset)
            yield Event("start", path, token.decode(), tokens.offset, twice)
            stack.append(_Open(path, set() if token == b"{" else None))
            token = tokens.need()
            if token not in (b"}", b"]"):
                path, twice, token = _member(stack[-1], token, tokens)
                continue
        else:
            yield Event("value", path, tokens.value(token), tokens.offset, twice)
            if not stack:
                return
            if tokens.buffer[tokens.position : tokens.position + 1] == b",":
                yield from _plain(stack[-1], tokens)
            token = tokens.need()
        for closed in _closed(token, stack, tokens):
            yield Event("end", closed, None, tokens.offset)
        if not stack:
            return
        token = tokens.last
        if token != b",":
            raise Malformed("a comma is missing", offset=tokens.offset)
        path, twice, token = _member(stack[-1], tokens.need(), tokens)


def _closed(token: bytes, stack: list[_Open], tokens: "_Tokens") -> Iterator[Path]:
    """What the token and those after it close; the token behind them is then `tokens.last`."""
    tokens.last = token
    while tokens.last in (b"}", b"]"):
        if (tokens.last == b"}") != (stack[-1].keys is not None):
            raise Malformed(f"{tokens.last.decode()!r} closes what it did not open", offset=tokens.offset)
        yield stack.pop().path
        if not stack:
            return
        tokens.need()


def _plain(parent: _Open, tokens: "_Tokens") -> Iterator[Event]:
    """The plain values that follow one another from here on, as far as the buffer reaches."""
    pattern = _ITEM if parent.keys is None else _MEMBER
    while match := pattern.match(tokens.buffer, tokens.position):
        offset = tokens.base + match.start(match.lastindex or 0)
        if parent.keys is None:
            key: str | int = parent.count
            twice = False
        else:
            key = tokens.value(match[1])
            twice = key in parent.keys
            parent.keys.add(str(key))
        parent.count += 1
        yield Event("value", (*parent.path, key), tokens.value(match[match.lastindex or 0]), offset, twice)
        tokens.position = match.end()


def _member(parent: _Open, token: bytes, tokens: "_Tokens") -> tuple[Path, bool, bytes]:
    """Path of the next value, whether its key was there before, and its first token."""
    position = parent.count
    parent.count += 1
    if parent.keys is None:
        return (*parent.path, position), False, token
    key = tokens.value(token)
    if not isinstance(key, str):
        raise Malformed("a key that is no text", offset=tokens.offset)
    twice = key in parent.keys
    parent.keys.add(key)
    if tokens.need() != b":":
        raise Malformed("a colon is missing", offset=tokens.offset)
    return (*parent.path, key), twice, tokens.need()


class _Tokens:
    """Tokens through a buffer that moves on."""

    def __init__(self, source: Source, context: Context) -> None:
        self.source, self.context = source, context
        self.buffer, self.position, self.offset, self.last = b"", 0, 0, b""
        self.read = 3 if source.read(0, 3) == b"\xef\xbb\xbf" else 0
        self.base = self.read

    def next(self) -> bytes | None:
        """The next token, None at the end."""
        match = _TOKEN.match(self.buffer, self.position)
        # A token at the buffer's edge may go on beyond it.
        while (match is None or match.end() >= len(self.buffer)) and self._more():
            match = _TOKEN.match(self.buffer, self.position)
        if match is None:
            raise Malformed(f"no JSON at {self.buffer[self.position : self.position + 20]!r}", offset=self.base + self.position)
        self.position = match.end()
        token = match.group(match.lastindex or 0)
        self.offset = self.base + match.end() - len(token)
        return token or None

    def need(self) -> bytes:
        """The next token. Raises Malformed at the end."""
        token = self.next()
        self.last = token or b""
        if token is None:
            raise Malformed("it ends in the middle of a value", offset=self.base + self.position)
        return token

    def value(self, token: bytes) -> Any:
        """What a text, number or word stands for."""
        if token in _WORDS:
            return _WORDS[token]
        if token[:1] in b"[]{}:,":
            raise Malformed(f"{token.decode()!r} where a value should stand", offset=self.offset)
        try:
            return token[1:-1].decode("utf-8") if token[0] == 34 and b"\\" not in token else _DECODER.decode(token.decode("utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise Malformed(f"a value that is none: {error}", offset=self.offset) from error

    def _more(self) -> bool:
        self.context.check_time()
        rest = self.buffer[self.position :]
        if len(rest) > MAX_TOKEN:
            raise LimitReached(f"a text of more than {MAX_TOKEN:,} bytes was not scanned", offset=self.base + self.position)
        # Twice as much each time, so that a long text is not matched again and again.
        chunk = self.source.read(self.read, max(CHUNK_BYTES, len(rest)))
        self.base, self.position = self.base + self.position, 0
        self.buffer = rest + chunk
        self.read += len(chunk)
        return bool(chunk)
