"""A process that is one of several workers, as the one that started it knows it: by its environment, and by the error it leaves."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rootstock.core.errors import PeerLost, RootstockError, received

ERRORS = "ROOTSTOCK_WORKER_ERRORS"
"""The folder where a worker that was started by Rootstock leaves the error that ended it."""


def launched() -> int:
    """How many workers torchrun, accelerate or Rootstock has started, this one among them; 1 where nobody has."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ and "MASTER_ADDR" in os.environ else 1


def rank() -> int:
    """This worker's number, from 0."""
    return int(os.environ.get("RANK", "0")) if launched() > 1 else 0


def restarts() -> int:
    """How often these workers were started again after one of them had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def owned() -> bool:
    """Whether Rootstock itself started this worker, and speaks for it."""
    return ERRORS in os.environ


@contextmanager
def reported() -> Iterator[None]:
    """An error from inside is left for the process that waits for this one, before the other workers miss it."""
    try:
        yield
    except RootstockError as error:
        if owned():
            told = {"name": type(error).__name__, "found": error.found, "wanted": error.wanted, "fix": error.fix}
            (Path(os.environ[ERRORS]) / f"{rank()}.json").write_text(json.dumps(told), "utf-8")
        raise


def silent(error: RootstockError) -> bool:
    """Whether someone else says it: who started this worker, or the worker that is missed."""
    return owned() or (rank() > 0 and isinstance(error, PeerLost))


def left(folder: Path) -> RootstockError | None:
    """What the workers ended by on purpose: the error of the first of them that has one of its own."""
    for path in sorted(folder.glob("*.json")):
        error = received(**json.loads(path.read_text("utf-8")))
        if not isinstance(error, PeerLost):
            return error
    return None
