"""A process that is one of several workers, as the one that started it knows it: by its environment, and by the error it leaves."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rootstock.core.errors import PeerLost, RootstockError, UsageError, received

ERRORS = "ROOTSTOCK_WORKER_ERRORS"
"""The folder where a worker that was started by Rootstock leaves the error that ended it."""


PATIENCE = "ROOTSTOCK_PATIENCE_MINUTES"
"""How long a worker waits for another in an update, an evaluation or a checkpoint before it takes it to hang: 30, as torch does."""
_MOST_MINUTES = 7 * 24 * 60
"""A week, which is as long as the others wait for what the first does alone; larger ones overflow torch's clocks."""


def patience_minutes() -> float:
    """The same as a number; UsageError where it is none."""
    text = os.environ.get(PATIENCE, "30")
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= _MOST_MINUTES:
        raise UsageError(f"{PATIENCE} is {text!r}", wanted=f"minutes, more than 0 and at most {_MOST_MINUTES:,}, a week")
    return minutes


def launched() -> int:
    """How many workers torchrun, accelerate or Rootstock has started, this one among them; 1 where nobody has."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ and "MASTER_ADDR" in os.environ else 1


def beside() -> int:
    """How many workers of this training share this machine, this one among them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", launched())) if launched() > 1 else 1


_LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", ERRORS)
"""How names of the environment begin that make a process one of several workers."""


def unlaunched() -> dict[str, str]:
    """The environment for a process that a worker starts and that is none: it would wait to be joined by the others."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHED)}


def rank() -> int:
    """This worker's number, from 0."""
    return int(os.environ.get("RANK", "0")) if launched() > 1 else 0


def restarts() -> int:
    """How often these workers were started again after one of them had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def owned() -> bool:
    """Whether Rootstock itself started this worker, and speaks for it."""
    return ERRORS in os.environ


_LOOKS_SECONDS = 0.2
"""How often a worker looks whether the process that started it is still there."""


def bound(parent: int) -> None:
    """This process ends at once when the one that started it is gone: another could begin to write where it writes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="bound", daemon=True).start()


def misled() -> str:
    """A warning where accelerate was asked for several workers and has started one, which is what it does without GPUs; else nothing."""
    told = os.environ
    if "ACCELERATE_MIXED_PRECISION" not in told or "MASTER_ADDR" not in told or "RANK" in told:
        return ""
    return (
        "accelerate launch has started one process, as it does without GPUs: add --multi_gpu (it holds for processors too), or use torchrun"
    )


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
