"""JSON, also a document a line: configs, tokenizers, notebooks, indexes, and models that are written in it."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.source import Probe, Source

_OBJECT = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*\{[ \t\r\n]*(?:"|\}[ \t\r\n]*\Z)')
_LIST = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*\[[ \t\r\n]*(?:["{\[\]]|-?\d|true|false|null)')
NAMES = (".json", ".jsonl", ".ipynb", ".ndjson", ".json5")


def recognises(probe: Probe) -> bool:
    """An object with a key, or a list, by its first characters; a list only where the name or an object in it says so."""
    if _OBJECT.match(probe.head) or (probe.name.endswith(NAMES) and not probe.head.startswith(b"\x80")):
        return True
    return (match := _LIST.match(probe.head)) is not None and match.group().endswith(b"{")


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Every value, then what whole documents say."""
    from rootstock.sentinel.judge.documents import judge
    from rootstock.sentinel.parse.json_events import events

    try:
        yield from judge(events(source, context), source, context)
    except Malformed as broken:
        if not source.name.endswith(NAMES) and not _OBJECT.match(source.probe.head):
            return
        yield finding("malformed", source, f"it is no JSON: {broken.what}", offset=broken.offset)
