"""Python source and compiled Python beside a model: what it does at import."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, finding
from rootstock.sentinel.source import Probe, Source

MAX_BYTES = 8 << 20
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
PLAIN_CODINGS = (b"utf-8", b"utf8", b"utf-8-sig", b"ascii", b"us-ascii", b"latin-1", b"latin1", b"iso-8859-1", b"iso-8859-15", b"cp1252")
_SHEBANG = re.compile(rb"#!\s*\S*\bpython")


def recognises(probe: Probe) -> bool:
    """By name, since that is what an import goes by; by its first line; compiled code by its magic number."""
    return (probe.name.endswith((".py", ".pyw", ".pyi", ".pyc", ".pyo", ".pth")) and _is_text_or_code(probe)) or bool(
        _SHEBANG.match(probe.head)
    )


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Calls that run, load, reach out or delete."""
    if source.name.endswith((".pyc", ".pyo")):
        yield finding("compiled-python", source, "compiled Python, whose content can't be compared with any source")
        return
    if source.size > MAX_BYTES:
        raise LimitReached(f"{source.size:,} bytes of Python, of which at most {MAX_BYTES:,} are read")
    raw = source.read(0, source.size)
    if source.name.endswith(".pth"):
        yield from _path_file(raw.decode("utf-8", "replace"), source)
        return
    yield from _calls(raw, source)


def _calls(raw: bytes, source: Source) -> Iterator[Finding]:
    from rootstock.sentinel.judge.code import dangerous_calls

    if (coding := _CODING.search(raw[:400])) and coding[1].lower().replace(b"_", b"-") not in PLAIN_CODINGS:
        what = f"it says that it is written in {coding[1].decode()!r}, so that its text means something else than it shows"
        yield finding("python-runs", source, what, severity="suspicious")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raw = raw.decode("utf-16", "replace").encode()
    try:
        calls = list(dangerous_calls(raw))
    except (SyntaxError, ValueError, RecursionError, LookupError) as error:
        yield finding("python-runs", source, f"can't be read as Python ({str(error)[:120]}) and was not scanned", severity="unscanned")
        return
    for call in calls[:20]:
        when = "at import" if call.at_import else "within a function"
        yield finding(
            "python-runs", source, f"line {call.line} calls {call.name} {when}", severity="malicious" if call.at_import else "note"
        )
    if not calls:
        yield finding("python-code", source, "Python source; nothing in it runs commands or reaches out")


def _path_file(text: str, source: Source) -> Iterator[Finding]:
    """Python runs lines of a .pth file that begin with import."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("import ", "import\t")):
            yield finding("python-runs", source, f"line {number} of a path file, which Python runs when it starts: {line[:100]!r}")


def _is_text_or_code(probe: Probe) -> bool:
    if probe.name.endswith((".pyc", ".pyo")):
        return probe.head[2:4] == b"\r\n" or probe.size < 16
    if probe.head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    return b"\0" not in probe.head[:64] and probe.head[:1] not in (b"\x80", b"P")
