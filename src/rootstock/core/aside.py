"""What lies in a folder, put aside within it until what replaces it has begun for good: until then whatever goes wrong brings it back.

Two names tell how far that has come, so that the next call puts right what a kill left: MOVING holds what was moved so far, and all of it
belongs back; OLD holds the whole, and what else the folder holds is the new one's. Nothing is copied, and the folder itself stays where it
is: it may be the target of a link, or a disk of its own.
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import Interrupted, RootstockError
from rootstock.core.lock import alone
from rootstock.core.watch import Event, Watch

MOVING, OLD = ".moving.part", ".old.part"
_BACK = "what lay there before is back; give the same command again"
_LAST = "manifest.json"
"""What makes a run complete goes first and comes back last: no complete run without its files."""


def put(folder: Path, *, besides: Collection[str] = ()) -> None:
    """Put aside all that lies in a folder. besides: names that stay.

    Where something lies aside already, what lies in the folder is what never began for good: it is removed.
    Where one can't be moved, as a disk of its own can't, all are back in their places.
    """
    with artifact.writing(folder):
        if (folder / OLD).exists():
            return _clear(folder, besides)
        moving = folder / MOVING
        try:
            moving.mkdir(exist_ok=True)
            for each in sorted(_own(folder, besides), key=lambda path: path.name != _LAST):
                each.rename(moving / each.name)
            moving.rename(folder / OLD)
        except BaseException:
            back(folder)
            raise


def waits(folder: Path) -> bool:
    """Whether something lies aside."""
    return (folder / OLD).exists()


def holds(folder: Path, name: str) -> bool:
    """Whether a file of this name lies aside, or among what was moved so far: whose folder it was is told by it."""
    return any((folder / place / name).is_file() for place in (MOVING, OLD))


def back(folder: Path) -> None:
    """Bring back what lies aside, in the place of what replaces it."""
    with artifact.writing(folder):
        moving = folder / MOVING
        if waits(folder):
            _clear(folder, ())
            (folder / OLD).rename(moving)
        if moving.exists():
            for each in sorted(moving.iterdir(), key=lambda path: path.name == _LAST):
                each.rename(folder / each.name)
            moving.rmdir()


def gone(folder: Path) -> None:
    """Let go what lies aside, where something does."""
    if waits(folder):
        artifact.remove(folder / OLD)


def mend(folder: Path, *, begun: bool, learned: bool = False) -> None:
    """Put right what a kill has left. begun: whether the new one has written what it is; learned: whether it has begun for good."""
    if (folder / MOVING).exists() or (waits(folder) and not begun):
        back(folder)
    elif learned:
        gone(folder)


def restore(folder: Path, *, begun: bool) -> None:
    """Bring back what a kill left half moved, for somebody who only reads; nothing where somebody writes there now, or where none can."""
    if (folder / MOVING).exists() or (waits(folder) and not begun):
        with suppress(RootstockError), alone(folder, patience=0):
            mend(folder, begun=begun)


@contextmanager
def kept(folder: Path, watch: Watch | None = None) -> Iterator[Watch]:
    """What lies aside comes back where this ends before the first update, or before `gone` is called; else it goes.

    Gives the watch of the training, which tells when that is.
    """
    watch = watch or Watch()
    try:
        yield replace(watch, event=lambda event: _heard(folder, watch, event), judged=lambda columns: _judged(folder, watch, columns))
    except BaseException as error:
        if not waits(folder):
            raise
        back(folder)
        if isinstance(error, Interrupted):
            raise Interrupted(error.found, fix=_BACK) from None
        raise
    gone(folder)


def _heard(folder: Path, watch: Watch, event: Event) -> None:
    if event["event"] == "step":
        gone(folder)
    watch.event(event)


def _judged(folder: Path, watch: Watch, columns: Any) -> None:
    """What is fitted at once takes no step; it is measured when it has learned."""
    gone(folder)
    watch.judged(columns)


def _own(folder: Path, besides: Collection[str]) -> list[Path]:
    return [each for each in folder.iterdir() if each.name not in (MOVING, OLD, *besides)]


def _clear(folder: Path, besides: Collection[str]) -> None:
    for each in sorted(_own(folder, besides), key=lambda path: path.name != _LAST):
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
