"""Files that a model names beside itself: where they lie on disk, and whether they are what they seem."""

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISLNK, S_ISREG

from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import paths
from rootstock.sentinel.source import Source


def judge(location: str, rule: str, source: Source, *, offset: int | None = None) -> Iterator[Finding]:
    """Findings on one name. A file within an archive has no neighbours on disk, and only its name is judged."""
    if (why := paths.escapes(location)) or (not source.members and (why := _on_disk(Path(source.path).parent, location))):
        yield finding(rule, source, f"it has its data read from {location[:160]!r}, which {why}", offset=offset)


def _on_disk(folder: Path, location: str) -> str:
    path = folder
    for part in Path(location).parts:
        path = path / part
        try:
            state = os.lstat(path)
        except (OSError, ValueError):
            return ""
        if S_ISLNK(state.st_mode) and not _stays(path, folder):
            return f"is a link out of the folder, to {str(path.resolve())[:160]!r}"
        if S_ISREG(state.st_mode) and state.st_nlink > 1:
            return "is a hard link: the same file has a name elsewhere"
    return ""


def _stays(path: Path, folder: Path) -> bool:
    """Whether a link ends in its folder, or in the blobs that the hub's cache keeps beside its snapshots."""
    try:
        target, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError):
        return False
    snapshot = next((each for each in (home, *home.parents) if each.parent.name == "snapshots"), None)
    places = [home, *([snapshot.parent.parent / "blobs"] if snapshot else [])]
    return any(target.is_relative_to(place) for place in places)
