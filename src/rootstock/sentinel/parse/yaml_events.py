"""YAML as the same stream of events as JSON; the parser builds nothing, and an alias is not followed into what it stands for."""

from collections.abc import Iterator
from typing import Any

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import LimitReached
from rootstock.sentinel.parse.json_events import MAX_DEPTH, Event

STANDARD = ("tag:yaml.org,2002:",)


class Document:
    """tags: each tag that is not YAML's own, with its value and offset. broken: why the text ended early."""

    def __init__(self, raw: bytes, context: Context) -> None:
        self.raw, self.context = raw, context
        self.tags: list[tuple[str, str, int]] = []
        self.broken = ""
        self._anchors: dict[str, Any] = {}
        self._sizes: dict[str, float] = {}
        self._open: list[tuple[str | None, float]] = []
        self.size = 0.0
        self._stack: list[_Open] = []

    def events(self) -> Iterator[Event]:
        """Every value in order. What follows a mistake in the text is lost, and `broken` says so."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            for count, token in enumerate(yaml.parse(self.raw, Loader=loader)):
                if not count % 4096:
                    self.context.check_time()
                yield from self._event(token)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            self.broken = " ".join(str(error).split())[:160]

    def _event(self, token: Any) -> Iterator[Event]:
        kind = type(token).__name__
        self._grow(kind, getattr(token, "anchor", None))
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            yield Event("end", self._stack.pop().path, None, token.start_mark.index)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            yield from self._start(token, kind == "MappingStartEvent")
        elif kind in ("ScalarEvent", "AliasEvent"):
            yield from self._scalar(token, kind == "AliasEvent")

    def _grow(self, kind: str, anchor: str | None) -> None:
        """Count the values that the document has when every alias is written out."""
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._open.append((anchor, self.size))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            name, before = self._open.pop()
            if name:
                self._sizes[name] = self.size - before
        elif kind == "AliasEvent":
            self.size += self._sizes.get(anchor or "", 0)
        self.size += 1

    def _start(self, token: Any, mapping: bool) -> Iterator[Event]:
        self._note(token.tag, "", token.start_mark.index)
        if len(self._stack) >= MAX_DEPTH:
            raise LimitReached(f"values more than {MAX_DEPTH} deep in one another", rule_id="nesting", offset=token.start_mark.index)
        path, twice = self._place("?") if self._stack else ((), False)
        yield Event("start", path, "{" if mapping else "[", token.start_mark.index, twice)
        self._stack.append(_Open(path, mapping))

    def _scalar(self, token: Any, alias: bool) -> Iterator[Event]:
        value = self._anchors.get(token.anchor, "") if alias else token.value
        if not alias:
            self._note(token.tag, token.value, token.start_mark.index)
            if token.anchor:
                self._anchors[token.anchor] = token.value
        if self._stack and self._stack[-1].awaits_key:
            self._stack[-1].take_key(value)
            return
        path, twice = self._place(value) if self._stack else ((), False)
        plain = not alias and token.style is None
        yield Event("value", path, _WORDS.get(value, value) if plain else value, token.start_mark.index, twice)

    def _note(self, tag: str | None, value: str, offset: int) -> None:
        if tag and (tag.startswith("tag:yaml.org,2002:python") or not tag.startswith(STANDARD)):
            self.tags.append((tag, value, offset))

    def _place(self, value: str) -> tuple[tuple[str | int, ...], bool]:
        return self._stack[-1].place(value)


_WORDS: dict[str, Any] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
    "True": True,
    "False": False,
    "no": False,
    "yes": True,
}


class _Open:
    """A mapping or a list that is not closed yet."""

    def __init__(self, path: tuple[str | int, ...], mapping: bool) -> None:
        self.path, self.mapping = path, mapping
        self.keys: set[str] = set()
        self.count = 0
        self.key: str | None = None
        self.twice = False

    @property
    def awaits_key(self) -> bool:
        return self.mapping and self.key is None

    def take_key(self, key: str) -> None:
        self.key, self.twice = key, key in self.keys and key != "<<"
        self.keys.add(key)

    def place(self, value: str) -> tuple[tuple[str | int, ...], bool]:
        """Path of the next value, and whether its key was there before; a key that is a list or mapping counts as '?'."""
        if not self.mapping:
            self.count += 1
            return (*self.path, self.count - 1), False
        if self.key is None:
            self.take_key(value)
            path = (*self.path, value)
            self.complex_key = True
            return path, False
        path, twice, self.key = (*self.path, self.key), self.twice, None
        return path, twice
