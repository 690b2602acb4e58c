"""The runs below a folder, found again at each look; what has not changed on disk is not read again.

A look at 1,000 runs that are known takes the time of their stat calls. Links that lead out of the folder are not followed.
"""

import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from rootstock.core.runfolder import SCANS
from rootstock.serving.studio.summary import FILES, Seen, State, summary

DEPTH = 6
"""Folders below one another, at most."""
MOST_FOLDERS = 50_000
"""Folders that are looked into, at most."""
QUIET_SECONDS = 120.0
"""A run that has not ended and wrote nothing for so long counts as interrupted, unless a process holds its history open.

By the clock of the wall where this studio did not see it write: a file from the time to come tells only that the clock was set back.
"""
PAGES = ("compare.html", "probes.html", "scaling.html", *(f"{scan}.html" for scan in SCANS))
"""Pages that other verbs leave beside runs."""
_HELD_SECONDS = 10.0
_INSIDE = ("stages", "parts")

Names = dict[str, os.DirEntry[str]]
Stamp = tuple[tuple[str, int, int], ...]


class _Known(NamedTuple):
    """A run as it was seen last. wrote: time.monotonic() when its files were seen to change; never is minus infinity."""

    stamp: Stamp
    seen: Seen
    wrote: float


@dataclass
class Index:
    """The runs below `root`, and the pages beside them. Safe to ask from several threads."""

    root: Path
    cut: bool = False
    """Whether there are more folders than were looked into."""
    pages: tuple[str, ...] = ()
    _known: dict[str, _Known] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _held: tuple[float, frozenset[str]] = (0.0, frozenset())

    def __post_init__(self) -> None:
        self.root = self.root.resolve()

    def runs(self) -> list[Seen]:
        """Every run, the newest first."""
        with self._lock:
            found, pages = {}, []
            for path, names in self._folders():
                name = path.relative_to(self.root).as_posix()
                if _is_run(names):
                    found[name] = self._seen(path, name, names)
                pages += [f"{name}/{each}".removeprefix("./") for each in PAGES if each in names]
            self._known, self.pages = found, tuple(pages)
            return sorted((each.seen for each in found.values()), key=lambda seen: (-seen.when, seen.id))

    def find(self, name: str) -> Path | None:
        """The folder of a run by its id; None where no run of that id was found."""
        if name not in self._known:
            self.runs()
        return self.root / name if name in self._known else None

    def inside(self, path: Path) -> Path | None:
        """The file itself, links followed; None where it is none, or lies outside the folder."""
        real = path.resolve()
        return real if real.is_file() and real.is_relative_to(self.root) else None

    def _folders(self) -> Iterator[tuple[Path, Names]]:
        self.cut, count = False, 0
        waiting = [(self.root, 0)]
        while waiting:
            path, depth = waiting.pop()
            count += 1
            if count > MOST_FOLDERS:
                self.cut = True
                return
            try:
                with os.scandir(path) as listed:
                    names = {each.name: each for each in listed}
            except OSError:
                continue
            yield path, names
            below = [names[each] for each in _INSIDE if each in names] if _is_run(names) else list(names.values())
            for each in below if depth < DEPTH else ():
                if not each.name.startswith(".") and each.is_dir(follow_symlinks=False):
                    waiting.append((Path(each.path), depth + 1))

    def _seen(self, path: Path, name: str, names: Names) -> _Known:
        stamp, known = _stamp(names), self._known.get(name)
        when = max((changed for _, changed, _ in stamp), default=0) / 1e9
        wrote = time.monotonic() if known and known.stamp != stamp else known.wrote if known else -math.inf
        state = self._state(path, names, min(time.monotonic() - wrote, abs(time.time() - when)))
        if known and known.stamp == stamp:
            return known if known.seen.state == state else known._replace(seen=replace(known.seen, state=state))
        return _Known(stamp, summary(path, name, state=state, when=when), wrote)

    def _state(self, path: Path, names: Names, quiet: float) -> State:
        """quiet: for how many seconds it has not written."""
        if "manifest.json" in names or "contract.json" in names:
            return "ended"
        return "running" if quiet < QUIET_SECONDS or str(path / "history.jsonl") in self._open() else "interrupted"

    def _open(self) -> frozenset[str]:
        """Histories that a process holds open, where the system tells (Linux); looked for once in ten seconds."""
        if time.monotonic() - self._held[0] > _HELD_SECONDS:
            self._held = time.monotonic(), frozenset(_open_histories())
        return self._held[1]


def _is_run(names: Names) -> bool:
    begun = "recipe.yaml" in names and not names.keys().isdisjoint(("manifest.json", "ledger.json", "history.jsonl", "stages"))
    return begun or "contract.json" in names


def _stamp(names: Names) -> Stamp:
    """Time and size of each file that a line is made of, and of what a run that goes on writes to."""
    found = []
    for name in (*FILES, "history.jsonl", "checkpoints", "model"):
        if name in names:
            try:
                told = names[name].stat()
            except OSError:
                continue
            found.append((name, told.st_mtime_ns, told.st_size))
    return tuple(found)


def _open_histories() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            handles = list(os.scandir(process / "fd"))
        except OSError:
            continue
        for each in handles:
            try:
                place = os.readlink(each.path)
            except OSError:
                continue
            if place.endswith("/history.jsonl"):
                yield place
