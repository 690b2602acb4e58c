"""safetensors: every byte of the file accounted for by its header."""

from collections.abc import Iterator

from rootstock.sentinel import safetensors
from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.source import Probe, Source

MAX_HEADER_BYTES = 24 << 20
"""Above it a scan would need more than its 200 MB of memory; the largest header of a published model has about 2 MB."""


def recognises(probe: Probe) -> bool:
    """A length, then a JSON object; or the name, by which loaders go."""
    return (probe.head[8:9] == b"{" and probe.head[:1] not in (b"{", b"[")) or probe.name.endswith(".safetensors")


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The header, its metadata, then what lies where no tensor does. The tensors' bytes are not read."""
    from rootstock.sentinel.judge import texts

    start = safetensors.data_start(source)
    if start > MAX_HEADER_BYTES:
        raise LimitReached(
            f"a header of {start - 8:,} bytes, of which at most {MAX_HEADER_BYTES:,} are read", rule_id="header-bomb", offset=0
        )
    metadata, tensors = safetensors.parse(source)
    for key, text in metadata.items():
        yield from texts.judge(key, text, source, context, offset=8)
    for name in tensors:
        if any(ord(letter) < 32 for letter in name) or len(name) > 4096 or name.startswith("/") or "../" in name:
            yield finding("safetensors-layout", source, f"a tensor's name is {name[:60]!r}", offset=8)
    try:
        safetensors.check(source, tensors)
    except Malformed as damage:
        yield finding(damage.rule_id, source, damage.what, offset=damage.offset)
        yield from _holes(source, tensors, context)


def _holes(source: Source, tensors: dict[str, object], context: Context) -> Iterator[Finding]:
    for offset, size in safetensors.uncovered(source, tensors)[:64]:
        part = source.part(offset, size, member=f"bytes of no tensor at {offset}")
        if any(any(chunk) for chunk in part.chunks()):
            yield from (each for each in context.nested(part) if each.rule != "unknown-format")
