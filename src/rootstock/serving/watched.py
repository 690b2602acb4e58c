"""A folder of models, kept in step with what is served from it."""

import asyncio
import os
import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rootstock.core.errors import RootstockError, UnknownModel
from rootstock.core.runfolder import RunFolder
from rootstock.serving.journal import Journal

if TYPE_CHECKING:  # a front can be tried without torch
    from rootstock.serving.engine import Engine

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
"""What a model may be called: a piece of a path that needs no escapes."""
_PAUSE_SECONDS = 1.0
_SHARE = 20
"""A look takes at most one part in so many of a core's time: of thousands of runs they are further apart."""

Seen = tuple[tuple[str, int, int, int], ...]


class Watched:
    """Every run in a folder is added, read again where its files change, and let go where it goes.

    A folder that is being copied has come to rest when two looks find the same. taken: names that are served from elsewhere.
    """

    def __init__(self, folder: Path, engine: "Engine", journal: Journal, *, taken: Collection[str] = ()) -> None:
        self._folder, self._engine, self._journal, self._taken = folder, engine, journal, frozenset(taken)
        self._served: dict[str, Seen] = {}
        self._refused: dict[str, Seen] = {}
        self._before: dict[str, Seen] = {}
        self.looked, self._took = False, 0.0

    def look(self) -> None:
        """One look, and what follows from it. Blocks: models are checked in it."""
        begun = time.thread_time()
        now = dict(self._seen())
        self._took = time.thread_time() - begun
        self._refused = {name: seen for name, seen in self._refused.items() if name in now}
        for name in sorted(set(self._served) - set(now)):
            self._let_go(name)
        for name, seen in now.items():
            rested = not self.looked or self._before.get(name) == seen
            if rested and seen not in (self._served.get(name), self._refused.get(name)):
                self._take(name, seen)
        self._before, self.looked = now, True

    @property
    def pause(self) -> float:
        """Seconds until the next look, by what the last one took."""
        return max(_PAUSE_SECONDS, _SHARE * self._took)

    async def keep(self) -> None:
        """Look again and again."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except OSError as error:  # what is served stays
                self._journal.note("folder_unreadable", error=str(error))
            await asyncio.sleep(self.pause)

    def _take(self, name: str, seen: Seen) -> None:
        again = name in self._served
        try:
            self._engine.add(name, self._folder / name)
        except (RootstockError, OSError) as error:
            if _stamps(self._folder / name) == seen:  # or it went away while it was read, and may come back as it was
                self._refused[name] = seen
            self._journal.note("model_refused", model=name, error=str(error), still_served=again)
            return
        self._served[name] = seen
        self._refused.pop(name, None)
        self._journal.note("model_changed" if again else "model_added", model=name)

    def _let_go(self, name: str) -> None:
        del self._served[name]
        try:
            self._engine.unload(name)
        except UnknownModel:
            return
        self._journal.note("model_gone", model=name)

    def _seen(self) -> Iterator[tuple[str, Seen]]:
        """Names of the finished runs, with what tells whether their files are the same as before."""
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if NAME.fullmatch(path.name) and path.name not in self._taken and RunFolder(path).complete and (seen := _stamps(path)):
                yield path.name, seen


def _stamps(folder: Path) -> Seen:
    """Name, time, size and inode of a run's own files; nothing where one went away meanwhile."""
    found = []
    try:
        for place in (folder, folder / "model") if (folder / "model").is_dir() else (folder,):
            with os.scandir(place) as listed:
                for each in listed:
                    if each.is_file():
                        stat = each.stat()
                        found.append((f"{place.name}/{each.name}", stat.st_mtime_ns, stat.st_size, stat.st_ino))
    except FileNotFoundError:
        return ()
    return tuple(sorted(found))
