"""Scripts for a shell beside a model: ones that fetch and run, or delete."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.source import Probe, Source

NAMES = (".sh", ".bash", ".zsh", ".bat", ".cmd", ".ps1", ".lua", ".rb", ".pl", ".php", ".js", ".r", "dockerfile", "makefile")


def recognises(probe: Probe) -> bool:
    """By name, or a first line that names a shell."""
    first = probe.head[:80].split(b"\n")[0]
    return b"\0" not in probe.head[:4096] and (probe.name.endswith(NAMES) or (first.startswith(b"#!") and b"python" not in first))


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Lines that fetch and run, and calls of other languages that run commands."""
    yield from texts.code_in(source, context, "the script")
