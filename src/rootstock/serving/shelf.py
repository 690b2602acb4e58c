"""The models by name: on disk all of them, in memory those that were asked for last."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

from rootstock.core.errors import RootstockError, RunFailed, UnknownModel, UsageError
from rootstock.serving.opening import Model, Opening
from rootstock.serving.told import ModelInfo


@dataclass(eq=False)
class Entry:
    """A name, its folder, and the model where it is in memory. pins: requests that use it now."""

    folder: Path
    info: ModelInfo
    model: Model | None = None
    pins: int = 0
    used: float = 0.0
    gone: bool = False
    """Not served under its name any more; let go with its last pin."""
    reading: threading.Lock = field(default_factory=threading.Lock)
    failed: tuple[float, RootstockError] | None = None
    """When it could not be read, and why."""


@dataclass(eq=False)
class Shelf:
    """Thread-safe. most: models in memory; pinned ones stay, even beyond it."""

    opening: Opening
    most: int
    loads: int = 0
    evictions: int = 0
    load_seconds: float = 0.0
    _entries: dict[str, Entry] = field(default_factory=dict)
    _lock: threading.Condition = field(default_factory=threading.Condition)

    def add(self, name: str, folder: Path, *, now: bool) -> ModelInfo:
        """Serve a folder under a name, from now on in place of what had it. now: with its weights."""
        with self._timed():
            model = self.opening.open(name, folder) if now else None
        info = model.info if model else replace(self.opening.look(name, folder), loaded=False)
        with self._lock:
            old = self._entries.get(name)
            self._entries[name] = Entry(folder, info, model, used=time.monotonic())
            self.loads += now
            if old is not None:
                old.gone = True
                self._let_go(old)
            self._make_room()
        return info

    def remove(self, name: str) -> None:
        """Serve it no more; returns once no request uses it. UnknownModel where nothing has the name."""
        with self._lock:
            entry = self._entry(name)
            del self._entries[name]
            entry.gone = True
            self._lock.wait_for(lambda: not entry.pins)
            self._let_go(entry)

    def infos(self) -> list[ModelInfo]:
        """All, by name."""
        with self._lock:
            return [replace(each.info, name=name, loaded=each.model is not None) for name, each in sorted(self._entries.items())]

    def info(self, name: str) -> ModelInfo:
        """One of them. UnknownModel where nothing has the name."""
        with self._lock:
            return self._entry(name).info

    def counts(self) -> tuple[int, int]:
        """Models in memory, and on disk only."""
        with self._lock:
            held = sum(each.model is not None for each in self._entries.values())
            return held, len(self._entries) - held

    def pin(self, name: str) -> Entry | None:
        """The model of a name, kept until it is unpinned; None where it must be read first."""
        with self._lock:
            entry = self._entry(name)
            if entry.model is None:
                return None
            entry.pins += 1
            entry.used = time.monotonic()
            return entry

    def unpin(self, entry: Entry) -> None:
        """A request is done with it."""
        with self._lock:
            entry.pins -= 1
            if not entry.pins:
                self._let_go(entry)
                self._make_room()
                self._lock.notify_all()

    def read(self, name: str, asked: float) -> None:
        """Bring a model into memory, through gate and contract again: its folder may be another by now. UnknownModel where it is gone.

        asked: when, on the monotonic clock. What has failed since then is not tried once more for each who waits.
        """
        with self._lock:
            entry = self._entry(name)
        with entry.reading:
            if entry.model is not None:
                return
            if entry.failed is not None and entry.failed[0] >= asked:
                raise copy(entry.failed[1])
            model = self._opened(name, entry)
            with self._lock:
                entry.model, entry.info, entry.used = model, model.info, time.monotonic()
                self.loads += 1
                self._let_go(entry)
                self._make_room(but=entry)

    def _opened(self, name: str, entry: Entry) -> Model:
        try:
            with self._timed():
                return self.opening.open(name, entry.folder)
        except (RootstockError, OSError) as error:
            why: RootstockError = RunFailed(f"{name} can't be read: {error}")
            if isinstance(error, RootstockError) and type(error) is not UsageError:  # which would blame who asks
                why = error
            if not entry.folder.exists():  # whoever took it away has yet to be noticed; nothing is wrong with the server
                with self._lock:
                    why = UnknownModel(name, self._entries.keys() - {name})
            entry.failed = time.monotonic(), copy(why)  # without its trace, whose frames hold what was read of the model
            raise why from error
        except Exception as error:  # a fault: whoever asked first gets it whole, the others that there is one
            entry.failed = time.monotonic(), RunFailed(f"{name} can't be read: {type(error).__name__}")
            raise

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise UnknownModel(name, self._entries)
        return self._entries[name]

    def _let_go(self, entry: Entry) -> None:
        if entry.gone and not entry.pins and entry.model is not None:
            entry.model.release()
            entry.model = None

    def _make_room(self, but: Entry | None = None) -> None:
        """Let the least recently used go until as many are in memory as may be."""
        held = [each for each in self._entries.values() if each.model is not None]
        idle = sorted((each for each in held if not each.pins and each is not but), key=lambda each: each.used)
        for entry in idle[: max(len(held) - self.most, 0)]:
            assert entry.model is not None
            entry.model.release()
            entry.model = None
            self.evictions += 1

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.load_seconds += time.perf_counter() - start
