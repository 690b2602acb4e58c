"""A training whose loss is no number any more goes back to its last checkpoint and on from there at a lower rate; not for ever.

What it does is decided by the checkpoint alone, so that a run that is killed meanwhile and resumed comes to the same weights.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from rootstock.core.errors import Diverged
from rootstock.core.rows import ROW, column
from rootstock.core.watch import Watch
from rootstock.loop.checkpoint import Checkpoint
from rootstock.loop.history import History
from rootstock.loop.train import LOWER, Training
from rootstock.run.prepared import LabelledRows, Prepared

Done = TypeVar("Done")

MOST = 2
"""Times that a run goes back before it stops."""
_NAMED = 5
"""Rows that a message names."""


@dataclass
class Setbacks:
    """times: that it has gone back so far, in earlier processes too. elapsed: seconds spent when it last broke, at the moment `since`.

    learned: whether a training has begun.
    """

    times: int = 0
    elapsed: float = 0.0
    since: float = 0.0
    error: Diverged | None = None
    learned: bool = False

    @contextmanager
    def met(self, training: Training) -> Iterator[None]:
        """A training that breaks inside is one that can go back."""
        self.learned = True
        try:
            yield
        except Diverged as error:
            self.error, self.times, self.elapsed, self.since = error, training.at.lowered, training.elapsed(), training.job.world.time()
            raise

    def begin(self, training: Training, saved: Checkpoint | None, history: History) -> None:
        """Lower the rate, and note it beside the step from which on it holds: it goes where that step is taken back."""
        if self.error:
            training.at.lowered = self.times
            note = {"event": "setback", "step": (saved.step if saved else 0) + 1, "lowered": self.times, "reason": self.error.found}
            history.note(note)

    def clock(self, watch: Watch, saved: Checkpoint | None, earlier: float) -> Watch:
        """The watch whose time counts what was spent before. earlier: seconds spent on what is built, in another process."""
        if not self.error:
            return watch if saved else replace(watch, started=watch.started - earlier)  # a checkpoint counts them already
        return replace(watch, started=self.since - self.elapsed + (saved.state["seconds"] if saved else 0.0))


def kept_on(attempt: Callable[[Setbacks], Done], prepared: Prepared, watch: Watch, *, may: bool) -> Done:
    """What the attempt gives, at the latest the third. may: whether it may go back at all. Raises Diverged, which names the rows."""
    back = Setbacks()
    while True:
        try:
            return attempt(back)
        except Diverged as error:
            if error is not back.error:
                raise
            if not may or back.times >= MOST:
                raise _told(error, prepared, back.times) from None
            watch.say(f"setback   {error.found}: back to the last checkpoint, and on at {LOWER ** (back.times + 1):g} of the rate")
        back.times += 1


def _told(error: Diverged, prepared: Prepared, times: int) -> Diverged:
    tried = f", and at {LOWER**times:g} of the rate too" if times else ""
    rows = f"; without a finite loss of its own: {_named(error.rows, prepared)}" if error.rows else ""
    fix = f"look at {'that row' if len(error.rows) == 1 else 'these rows'}, or {error.fix}" if error.rows else error.fix
    told = Diverged(f"{error.found}{tried}{rows}", wanted="a loss that is a number", fix=fix)
    told.rows = error.rows
    return told


def _named(rows: tuple[int, ...], prepared: Prepared) -> str:
    """As a person finds them: by their number in the file where they come from one."""
    numbers, what = list(rows), "training row"
    if isinstance(prepared, LabelledRows) and len(prepared.learned) == len(prepared.encoded) and ROW in prepared.learned.column_names:
        held = column(prepared.learned, ROW)
        numbers, what = [held[row] for row in rows], "row"
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"{what}{'s' * (len(rows) > 1)} {', '.join(f'{number}' for number in numbers[:_NAMED])}{more}"
