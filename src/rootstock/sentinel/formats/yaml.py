"""YAML: configs of hydra, NeMo, MLflow and others, read as events, so that no tag builds anything."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, finding
from rootstock.sentinel.source import Probe, Source

NAMES = (".yaml", ".yml")
FILES = frozenset(("mlmodel", "mlproject", ".yamllint"))
_TELLING = re.compile(
    rb"!!python/|!<tag:yaml\.org,2002:python|tag:yaml\.org,2002:python|^\s*(?:- )?_target_\s*:|!(?:new|apply|name|obj):", re.MULTILINE
)
MAX_BYTES = 16 << 20


def recognises(probe: Probe) -> bool:
    """By name, since any text may be YAML; by tags and keys that have a loader build something."""
    if b"\0" in probe.head[:4096] and not (probe.head.startswith((b"\xff\xfe", b"\xfe\xff")) and probe.name.endswith(NAMES)):
        return False
    return (
        probe.name.endswith(NAMES)
        or probe.name in FILES
        or bool(_TELLING.search(probe.head) and not probe.name.endswith((".md", ".py", ".rst")))
    )


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Tags, then every value."""
    from rootstock.sentinel.judge.documents import judge
    from rootstock.sentinel.parse.yaml_events import Document

    if source.size > MAX_BYTES:
        raise LimitReached(f"{source.size:,} bytes of YAML, of which at most {MAX_BYTES:,} are read")
    document = Document(source.read(0, source.size), context)
    yield from judge(document.events(), source, context)
    if document.size > max(1e6, 10 * source.size):
        yield finding("header-bomb", source, f"its aliases stand for {document.size:.0e} values when they are written out")
    for tag, value, offset in document.tags:
        yield from _tag(tag, value, offset, source)
    if document.broken and (source.name.endswith(NAMES) or source.name in FILES):
        yield finding("malformed", source, f"it is no YAML: {document.broken}")


def _tag(tag: str, value: str, offset: int, source: Source) -> Iterator[Finding]:
    from rootstock.sentinel.judge import names

    if "python" in tag:
        kind = tag.rsplit("python/", 1)[-1]
        plain = kind.split(":")[0] in (
            "tuple",
            "str",
            "unicode",
            "int",
            "long",
            "float",
            "complex",
            "bool",
            "none",
            "list",
            "dict",
            "bytes",
        )
        yield finding(
            "yaml-tag",
            source,
            f"the tag {tag[-120:]!r} has a loader build a Python object",
            offset=offset,
            severity="note" if plain else None,
        )
        return
    kind, _, name = tag.lstrip("!").partition(":")
    if kind in ("new", "apply", "name", "module", "obj") and name:
        severity = names.judge(name)
        yield finding("config-target", source, f"the tag {tag[:120]!r} has a loader call {name[:80]!r}", offset=offset, severity=severity)
    elif kind.startswith("include"):
        from rootstock.sentinel.judge import paths

        if why := paths.escapes(value or name):
            yield finding("config-path", source, f"it includes {(value or name)[:120]!r}, which {why}", offset=offset)
