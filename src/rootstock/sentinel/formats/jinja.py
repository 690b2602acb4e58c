"""Chat templates in files of their own."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached
from rootstock.sentinel.source import Probe, Source

NAMES = (".jinja", ".jinja2", ".j2", ".tmpl", ".tpl")


def recognises(probe: Probe) -> bool:
    """By name, or a text that opens with a statement or an expression."""
    return b"\0" not in probe.head[:4096] and (probe.name.endswith(NAMES) or probe.head.lstrip()[:2] in (b"{%", b"{{", b"{#"))


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The template by its syntax tree."""
    from rootstock.sentinel.judge import templates

    if source.size > templates.MAX_CHARACTERS:
        raise LimitReached(f"{source.size:,} bytes of template, of which at most {templates.MAX_CHARACTERS:,} are read")
    text = source.read(0, source.size).decode("utf-8", "replace")
    yield from templates.judge(text, source, where="the template", offset=0)
