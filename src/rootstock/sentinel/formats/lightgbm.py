"""LightGBM and CatBoost models: text trees whose counts must fit, and binary ones by their magic number."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.source import Probe, Source

_COUNT = re.compile(rb"^(num_leaves|num_class|num_tree_per_iteration|max_feature_idx|num_cat)=(-?\d{1,40})\r?$", re.MULTILINE)


def recognises(probe: Probe) -> bool:
    """By the first line of a model as text."""
    return probe.head.startswith((b"tree\n", b"tree\r\n"))


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Counts that the file has no room for, and code in its lines."""
    for number, chunk in enumerate(source.chunks()):
        context.check_time()
        for match in _COUNT.finditer(chunk):
            value = int(match[2])
            if value < 0 or value > source.size:
                what = f"{match[1].decode()} is {value:,} in a file of {source.size:,} bytes"
                yield finding("header-bomb", source, what, offset=(number << 20) + match.start())
    yield from texts.code_in(source, context, "the model")
