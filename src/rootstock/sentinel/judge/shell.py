"""Code and commands in texts that should hold none: metadata, names, string tables of binary formats."""

import re

_CALLS = (
    rb"__import__\s*\(|\bimportlib\.import_module|\bos\.(?:system|popen|exec[lv]p?e?|spawn\w+|execute)\b|\bposix\.system|\bsubprocess\.\w+|"
    rb"\bpty\.spawn|\bshutil\.rmtree|\b(?:exec|eval|compile)\s*\(\s*(?:compile|base64|zlib|bytes|__|open|requests|codecs|marshal|['\"])|"
    rb"\bimport\s+(?:os|subprocess|pty|ctypes|socket|pickle|marshal|shutil|sys)\s*(?:[;,\n]|as\b|$)|\bfrom\s+(?:os|subprocess|pty|ctypes)\s+import\b|"
    rb"\bpickle\.loads?\b|\bmarshal\.loads\b|\bctypes\.(?:CDLL|cdll)|\bsocket\.socket\b|\b__builtins__\b|\b__subclasses__\b|\b__globals__\b|"
    rb"\bio\.popen\b|\bloadstring\s*\(|\bpackage\.loadlib\b|\bRuntime\.getRuntime\b|\bProcessBuilder\b"
)
_SHELL = (
    rb"(?:\bcurl|\bwget)\s[^\n]{0,200}\|\s*(?:ba|z|da)?sh\b|/bin/(?:ba|z|da)?sh\s+-[ci]|\bnc\s+-\w*e\b|/dev/tcp/|\bpowershell(?:\.exe)?\s+-|"
    rb"\bcmd(?:\.exe)?\s+/c\b|\bchmod\s+\+x\b|\bbase64\s+-d\b|\bbash\s+-i\b|\brm\s+-rf\s+[/~]"
)
CODE = re.compile(b"|".join((_CALLS, _SHELL)))
"""Calls of Python, Lua and Java that run something, and shell lines that fetch and run."""

LIBRARY = re.compile(rb"[\w./\\:~-]{0,200}[\w-]\.(?:so(?:\.\d+)*|dll|dylib)\b(?![\w./])")
"""The name of a native library."""


def first_code(text: str | bytes) -> str:
    """The first call or command in a text with what follows, 80 characters; empty where there is none."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    match = CODE.search(raw)
    return raw[match.start() : match.start() + 80].decode("utf-8", "replace") if match else ""


def first_library(text: str | bytes) -> str:
    """The first native library that a text names; empty where there is none."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    match = LIBRARY.search(raw)
    return match.group()[-160:].decode("utf-8", "replace") if match else ""
