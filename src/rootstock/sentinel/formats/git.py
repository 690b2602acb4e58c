"""What git keeps of its own in a clone: loose objects, of which files are scanned like the ones beside, packs of them and its index."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.source import Probe, Source

MAGICS = (b"DIRC\0\0\0", b"PACK\0\0\0", b"\xfftOc\0\0\0", b"RIDX\0\0\0", b"CGPH\x01", b"BITM\0\x01", b"MIDX\x01")
_OBJECT = re.compile(rb"(blob|tree|commit|tag) (\d{1,15})\0")


def recognises(probe: Probe) -> bool:
    """By magic, or an unpacked object whose length is that of the rest."""
    found = _OBJECT.match(probe.head)
    return probe.head.startswith(MAGICS) or (found is not None and found.end() + int(found[2]) == probe.size)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The content of a file's object; packs are named and not unpacked, since loaders read what is checked out of them."""
    found = _OBJECT.match(source.probe.head)
    if found is None:
        yield finding("raw-data", source, f"{source.size:,} bytes of git's own store, from which files are checked out")
    elif found[1] == b"blob" and found.end() < source.size:
        yield from context.nested(source.part(found.end(), source.size - found.end(), member="file"))
