"""Links of a folder on disk that lead out of it; the hub's cache may lead to the blobs that it keeps beside its snapshots."""

import os
from collections.abc import Iterator
from pathlib import Path

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.source import Source, Tree


def scan(tree: Tree, context: Context) -> Iterator[Finding]:
    """Each link whose end lies elsewhere, and each name that shares its bytes with a name outside."""
    root = getattr(tree, "root", None)
    if not isinstance(root, Path):
        return
    folder = root.resolve()
    allowed = places(folder)
    inodes: dict[tuple[int, int], int] = {}
    for name in tree.names:
        path = root / name
        status = os.lstat(path)
        inodes[status.st_dev, status.st_ino] = inodes.get((status.st_dev, status.st_ino), 0) + 1
        if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in allowed):
            yield finding("link-out", _at(path), f"a link out of the folder, to {path.resolve()}")
    if len(tree.names) < 2:
        return
    for name in tree.names:
        status = os.lstat(root / name)
        if not (root / name).is_symlink() and status.st_nlink > inodes[status.st_dev, status.st_ino]:
            yield finding("hard-link", _at(root / name), "its bytes are shared with a name outside of the folder")


def places(folder: Path) -> list[Path]:
    """Where links of a folder may end."""
    snapshot = next((path for path in (folder, *folder.parents) if path.parent.name == "snapshots"), None)
    return [folder, *([snapshot.parent.parent / "blobs"] if snapshot else [])]


def _at(path: Path) -> Source:
    return Source(str(path), 0, lambda offset, count: b"")
