"""Digests of every file of a folder, on all cores: hashlib leaves the interpreter while it reads on."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rootstock.core.artifact import digest_file, digest_json
from rootstock.core.errors import UsageError
from rootstock.sentinel.scanner import FolderTree

SIGNATURE = "model.sig"
"""The name that OpenSSF Model Signing gives a signature within a model's folder; it can't be part of what it signs."""
_BESIDE = (".git/", ".cache/")


def files(folder: Path) -> tuple[str, ...]:
    """Every file and link below a folder, or the one file, but signatures, version control and the hub's own notes."""
    if not folder.exists():
        raise UsageError(f"there is no {folder}", wanted="a model's folder, a run, or a file", fix="check the path")
    return tuple(name for name in FolderTree(folder).names if name != SIGNATURE and not name.startswith(_BESIDE))


def each(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Name to sha256, several files at once. Raises OSError where one can't be read."""
    root = folder if folder.is_dir() else folder.parent
    names = [name for name in names if (root / name).is_file()]
    largest_first = sorted(names, key=lambda name: -(root / name).stat().st_size)
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        found = dict(zip(largest_first, pool.map(lambda name: digest_file(root / name), largest_first), strict=True))
    return {name: found[name] for name in names}


def tree(held: dict[str, str]) -> str:
    """One digest of all: sha256 of the canonical JSON of name to sha256."""
    return digest_json(held)


def blob(path: Path) -> str:
    """The id that git gives a file's bytes (sha1), which the hub uses for small files."""
    total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            total.update(part)
    return total.hexdigest()
