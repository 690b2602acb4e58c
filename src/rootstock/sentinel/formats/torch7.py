"""Torch7 files: Lua objects, and functions that a reader compiles."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.source import Probe, Source

_BINARY = re.compile(rb"\x04\0\0\0.{4}.\0\0\0V \d", re.DOTALL)
_ASCII = re.compile(rb"4\n\d+\n\d+\nV \d+\n")
_FUNCTION = re.compile(rb"\x1bL(?:J|ua)|\bloadstring\b|\bos\.execute\b|\bio\.popen\b|\bdofile\b|\bffi\.(?:load|C)\b|\bpackage\.loadlib\b")


def recognises(probe: Probe) -> bool:
    """A Torch object of version 1, binary or as text; or the name."""
    return bool(_BINARY.match(probe.head) or _ASCII.match(probe.head)) or probe.name.endswith((".t7", ".torch7"))


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Compiled Lua and calls by their bytes. The objects are not rebuilt, which is said."""
    yield finding("torch7-object", source, "Lua objects, whose functions a reader compiles")
    for number, chunk in enumerate(source.chunks()):
        context.check_time()
        if match := _FUNCTION.search(chunk):
            what = f"it carries Lua code: {match.group()!r}"
            yield finding("code-in-text", source, what, offset=(number << 20) + match.start(), severity="malicious")
            break
    yield from texts.code_in(source, context, "the file")
