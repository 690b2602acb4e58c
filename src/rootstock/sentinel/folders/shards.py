"""Indexes of weights split over files, against the files that are there."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.source import Source, Tree

SUFFIX = ".index.json"


def scan(tree: Tree, context: Context) -> Iterator[Finding]:
    """Every index: a safetensors index must lead to safetensors files that are there."""
    present = frozenset(tree.names)
    for name in tree.names:
        if name.lower().endswith(SUFFIX):
            try:
                source = tree.open(name)
            except (KeyError, OSError):
                continue
            yield from _index(name, source, present, context)


def _index(name: str, source: Source, present: frozenset[str], context: Context) -> Iterator[Finding]:
    from rootstock.sentinel.parse.json_events import events

    safe = ".safetensors" in name.lower()
    folder = PurePosixPath(name).parent
    told: set[str] = set()
    try:
        for event in events(source, context):
            if event.kind != "value" or not isinstance(event.value, str) or event.path[:1] != ("weight_map",) or event.value in told:
                continue
            told.add(event.value)
            if safe and not event.value.lower().endswith(".safetensors"):
                yield finding("index-path", source, f"an index of safetensors leads to {event.value[:120]!r}", offset=event.offset)
            elif str(folder / event.value) not in present:
                yield finding("index-path", source, f"{event.value[:120]!r} is not there", offset=event.offset, severity="note")
    except Malformed:
        return  # told by the reader of JSON
