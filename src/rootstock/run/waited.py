"""What another run makes just now is waited for: it would be made twice, and two would write to one file."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rootstock.core.errors import Interrupted
from rootstock.core.lock import alone
from rootstock.core.watch import Watch


def ask(watch: Watch) -> None:
    """Raise Interrupted where it was asked to stop."""
    if watch.stop():
        raise Interrupted("interrupted before training began: nothing was learned yet", fix="start again")


@contextmanager
def by_one(paths: Iterable[Path], watch: Watch, *, seconds: float) -> Iterator[None]:
    """Inside, only this one makes these files. Raises UsageError where another does for so many seconds, and hears a request to stop."""
    until, told = time.monotonic() + seconds, iter(("layers    another run makes the same just now: it is waited for",))

    def meanwhile() -> None:
        for line in told:
            watch.say(line)
        ask(watch)

    with ExitStack() as locks:
        for path in sorted(paths):  # in the same order everywhere: nobody waits for who waits for him
            locks.enter_context(alone(path, patience=until - time.monotonic(), meanwhile=meanwhile))
        yield
