"""Code and commands in texts that should hold none: metadata, names, string tables of binary formats."""

import re
from collections.abc import Iterator

from rootstock.sentinel.judge.words import words

_CALLS = (
    rb"__import__\s*\(|\bimportlib\.import_module|\bos\.(?:system|popen|exec[lv]p?e?|spawn\w+|execute)\b|\bposix\.system|\bsubprocess\.\w+|"
    rb"\bpty\.spawn|\bshutil\.rmtree|\b(?:exec|eval|compile)\s*\(\s*(?:compile|base64|zlib|bytes|__|open|requests|codecs|marshal|['\"])|"
    rb"\bimport\s+(?:os|subprocess|pty|ctypes|socket|pickle|marshal|shutil|sys)\s*(?:[;,\n]|as\b|$)|\bfrom\s+(?:os|subprocess|pty|ctypes)\s+import\b|"
    rb"\bpickle\.loads?\b|\bmarshal\.loads\b|\bctypes\.(?:CDLL|cdll)|\bsocket\.socket\b|\b__builtins__\b|\b__subclasses__\b|\b__globals__\b|"
    rb"\bio\.popen\b|\bloadstring\s*\(|\bpackage\.loadlib\b|\bRuntime\.getRuntime\b|\bProcessBuilder\b"
)
_SHELL = (
    rb"(?:\bcurl|\bwget)\s[^\n]{0,200}\|\s*(?:ba|z|da)?sh\b|/bin/(?:ba|z|da)?sh\s+-[ci]|\bnc -\w*e\b|/dev/tcp/|\bpowershell(?:\.exe)?\s+-|"
    rb"\bcmd(?:\.exe)? /c\b|\bchmod\s+\+x\b|\bbase64\s+-d\b|\bbash -i\b|\brm -rf\s+[/~]"
)
CODE = re.compile(b"|".join((_CALLS, _SHELL)))
"""Calls of Python, Lua and Java that run something, and shell lines that fetch and run."""

NEEDLES = (
    b"cmd /c",
    b"nc -",
    b"rm -rf",
    *map(
        str.encode,
        sorted(
            words(
                "__import__ import os.system os.popen os.exec os.spawn posix subprocess pty.spawn shutil exec eval compile pickle marshal"
                " ctypes socket __builtins__ __subclasses__ __globals__ io.popen loadstring package.loadlib Runtime ProcessBuilder curl"
                " wget /bin/ /dev/tcp powershell cmd.exe chmod base64 bash"
            )
        ),
    ),
)
"""Each alternative of CODE has one of these in it; bytes without any need no search, which makes weights fast."""

_ENDING = re.compile(rb"\.(?:so(?:\.\d+)*|dll|dylib)\b(?![\w./])")
_PATH = re.compile(rb"[\w./\\:~-]{0,200}[\w-]\Z")


def codes(raw: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of every call or command."""
    if any(needle in raw for needle in NEEDLES):
        yield from (match.span() for match in CODE.finditer(raw))


def libraries(raw: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of every name of a native library."""
    for ending in _ENDING.finditer(raw):
        start = max(0, ending.start() - 200)
        if name := _PATH.search(raw[start : ending.start()]):
            yield start + name.start(), ending.end()


def first_code(text: str | bytes) -> str:
    """The first call or command in a text with what follows, 80 characters; empty where there is none."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    start, _ = next(codes(raw), (-1, 0))
    return raw[start : start + 80].decode("utf-8", "replace") if start >= 0 else ""


def first_library(text: str | bytes) -> str:
    """The first native library that a text names; empty where there is none."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    start, end = next(libraries(raw), (0, 0))
    return raw[start:end][-160:].decode("utf-8", "replace")
