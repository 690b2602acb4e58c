"""Which format a file has: by the setting, then by its name, then by its content."""

import json
from pathlib import Path

from rootstock.core.errors import UnknownName
from rootstock.data.conll import is_conll

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "conll", "lines", "folder")
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".conll": "conll",
    ".conllu": "conll",
    ".iob": "conll",
    ".bio": "conll",
}
_MAGIC = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow"}


def named(setting: str, path: Path) -> str:
    """The format that the setting or the name tells, or "" where they tell nothing. Raises UnknownName."""
    if setting != "auto":
        if setting not in FORMATS:
            raise UnknownName("format", setting, [*FORMATS, "auto"])
        return setting
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return _SUFFIXES.get(suffixes[-1], "") if suffixes else ""


def binary(data: bytes) -> str:
    """parquet or arrow by the first bytes, or ""."""
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "")


def textual(text: str) -> str:
    """json or jsonl by the first letters, conll by its tags, else txt: fields whose delimiter is yet to be found."""
    start = text.lstrip()
    if not start.startswith(("{", "[")):
        return "conll" if is_conll(text) else "txt"
    try:
        value = json.loads(start.split("\n", 1)[0])
    except (ValueError, RecursionError):
        return "json" if start.startswith(("{\n", "{\r", "[\n", "[\r", "[{", "[ {", '{"')) else "txt"
    return "jsonl" if isinstance(value, dict) and "\n" in start.strip() else "json"
