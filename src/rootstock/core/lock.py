"""One writer to a folder at a time.

The lock is the system's own (flock) on a small file beside the folder. It goes with the process that holds it, however that ends, so none
is ever stale; what the file says only tells others whom they wait for.
"""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rootstock.core.errors import UsageError

_PATIENCE = 2.0
"""Seconds to wait for a holder that is just ending: a child outlives a parent that was killed by moments."""
_EACH = 0.05


@contextmanager
def alone(target: Path, *, patience: float | None = None, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Only this one writes to `target` meanwhile. Raises UsageError, which names the other, where it is taken for `patience` seconds.

    Where no file can be made beside the target, as where its parent is read-only, there is no lock either.
    patience: None: as long as a holder that is just ending may take.
    meanwhile: called again and again while it waits; what it raises ends that.
    """
    place = target.resolve()
    beside = place.parent / f".{place.name}.lock"
    made = [each for each in (place.parent, *place.parent.parents) if not each.exists()]
    try:
        handle = _taken(beside, target, _PATIENCE if patience is None else patience, meanwhile)
    except OSError:
        handle = None
    try:
        yield
    finally:
        if handle is not None:
            beside.unlink(missing_ok=True)
            os.close(handle)
        for each in made:
            with suppress(OSError):  # something was written there
                each.rmdir()


def _taken(beside: Path, target: Path, patience: float, meanwhile: Callable[[], None]) -> int:
    """The file, locked. OSError where that can't be, UsageError where another has it."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while True:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = os.pread(handle, 2000, 0)
            os.close(handle)
            if time.monotonic() > until:
                raise _busy(target, held) from None
            meanwhile()
            time.sleep(_EACH)
            continue
        except OSError:
            os.close(handle)
            raise
        if _same(handle, beside):
            told = {"process": os.getpid(), "machine": socket.gethostname(), "command": " ".join(sys.argv)[:200]}
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(told).encode(), 0)
            return handle
        os.close(handle)  # who held it took the file away between our opening and our locking


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _busy(target: Path, held: bytes) -> UsageError:
    try:
        told = json.loads(held)
        who = f"process {told['process']} on {told['machine']} ({told['command']})"
    except (ValueError, KeyError, TypeError):  # it has only just begun
        who = "another process"
    return UsageError(
        f"{who} is writing to {target}",
        wanted="a folder that nobody else writes to",
        fix="wait until it has ended, or choose another --out",
    )
