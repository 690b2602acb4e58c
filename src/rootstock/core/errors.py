"""The errors a user can meet, all catchable as RootstockError.

RootstockError               exit code 1: the run failed
├── RunFailed                something broke while running: the message says what is kept
│   ├── WriteFailed          a full disk, a read-only folder
│   ├── OutOfMemory          a step did not fit
│   ├── Diverged             the loss is no number any more, or no rate lowers it
│   ├── Overloaded           a served model's queue is full: carries in how many seconds to ask again
│   │   └── Draining         it is shutting down, and takes nothing more
│   ├── TimedOut             a served answer was not ready in the time that was given
│   └── PeerLost             another worker of the same training is gone
├── UsageError               exit code 2: wrong usage, recipe or data
│   ├── UnknownName          a name the catalog does not hold; carries the nearest
│   │   └── UnknownModel     a model that is not served
│   ├── RecipeError          a key or a value of the recipe
│   ├── DataError            a data file: names the file, and the row where there is one
│   │   └── RowRefused       a row of a request; carries its number
│   └── BaseError            a base or tokenizer that can't be used
├── Refused                  exit code 3: a gate said no
│   ├── GateRefused          the sentinel: a file that could run code, or whose digest is wrong
│   ├── LedgerRefused        the data ledger: a finding above its limit
│   ├── ContractRefused      an adapter on a base it was not made for
│   └── MergeRefused         a merge that changes the answers
└── Interrupted              exit code 130: stopped by the user, can be resumed
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, ClassVar


class RootstockError(Exception):
    """A message in up to three parts: what was found, what was wanted, how to fix it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, found: str, *, wanted: str = "", fix: str = "") -> None:
        self.found, self.wanted, self.fix = found, wanted, fix
        lines = [found, f"wanted: {wanted}" if wanted else "", f"fix: {fix}" if fix else ""]
        super().__init__("\n".join(line for line in lines if line))

    def __reduce__(self) -> tuple[Any, ...]:
        """How an error comes over from another process, whatever its class is made with."""
        return _again, (type(self), self.found, self.wanted, self.fix), self.__dict__


def _again(kind: type[RootstockError], found: str, wanted: str, fix: str) -> RootstockError:
    error = kind.__new__(kind)
    RootstockError.__init__(error, found, wanted=wanted, fix=fix)
    return error


def retold(error: RootstockError, what: str, *, fix: str = "") -> RootstockError:
    """The same error with the thing that it is about before it, and another way to fix it where one is given."""
    return _again(type(error), f"{what}: {error.found}", error.wanted, fix or error.fix)


def received(name: str, found: str, wanted: str, fix: str) -> RootstockError:
    """An error as another process told it, by the name of its class."""
    kinds: list[type[RootstockError]] = [RootstockError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return _again(next(kind for kind in kinds if kind.__name__ == name), found, wanted, fix)


@contextmanager
def about(what: str) -> Iterator[None]:
    """An error from inside begins with what it is about."""
    try:
        yield
    except RootstockError as error:
        raise retold(error, what) from None


class RunFailed(RootstockError):
    """Something broke while running."""


class WriteFailed(RunFailed):
    """The disk is full, or the folder can't be written."""


class OutOfMemory(RunFailed):
    """A step did not fit in memory."""


class Diverged(RunFailed):
    """The loss stopped being a number, or no rate lowers it: another rate may. rows: those of the update that have no loss alone."""

    rows: tuple[int, ...] = ()


class Overloaded(RunFailed):
    """The queue is full. retry_after: seconds after which to ask again."""

    def __init__(self, found: str, *, retry_after: float, wanted: str = "", fix: str = "ask again later") -> None:
        super().__init__(found, wanted=wanted, fix=fix)
        self.retry_after = retry_after


class Draining(Overloaded):
    """What is accepted is being answered, and nothing more is."""


class TimedOut(RunFailed):
    """No answer in the time that was given."""


class PeerLost(RunFailed):
    """Another process of the same training is gone; what it said tells why."""


class UsageError(RootstockError):
    """Wrong usage, recipe or data."""

    exit_code = 2


class UnknownName(UsageError):
    """No such name; the message lists what exists and the nearest to what was asked, unless a better `fix` is known."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, fix: str = "") -> None:
        known = sorted(known)
        near = nearest(name, known)
        super().__init__(
            f"there is no {kind} named {name!r}",
            wanted=f"one of {', '.join(known)}",
            fix=fix or (f"did you mean {near!r}?" if near else ""),
        )


class UnknownModel(UnknownName):
    """No model of this name is served. nearest: the served name closest to it, or None."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        self.name, self.nearest = name, nearest(name, known)
        super().__init__("model", name, known[:20])


class RecipeError(UsageError):
    """A key or a value of the recipe is wrong."""


class DataError(UsageError):
    """A data file can't be used as it is."""


class RowRefused(DataError):
    """A row of a request can't be answered. index: its place among the rows, from 0. why: the reason alone."""

    def __init__(self, index: int, why: str, *, wanted: str = "", fix: str = "") -> None:
        super().__init__(f"row {index}: {why}", wanted=wanted, fix=fix)
        self.index, self.why = index, why


class BaseError(UsageError):
    """A base, its weights or its tokenizer can't be used."""


class Refused(RootstockError):
    """A gate said no."""

    exit_code = 3


class GateRefused(Refused):
    """A file failed the security gate."""


class LedgerRefused(Refused):
    """The data holds a finding above its limit."""


class ContractRefused(Refused):
    """An adapter was asked to work on something it was not trained for."""


class MergeRefused(Refused):
    """Merged weights would answer differently."""


class Interrupted(RootstockError):
    """Stopped by the user; a checkpoint was written first."""

    exit_code = 130


def is_memory_shortage(error: BaseException) -> bool:
    """Whether an error says that no memory is left; torch, and the loader of its libraries, have no kind of error for it, only a text."""
    said = ("allocate memory", "out of memory", "bad_alloc", "failed to map segment")
    return isinstance(error, MemoryError) or any(text in str(error) for text in said)


@contextmanager
def fitting(what: str, *, fix: str) -> Iterator[None]:
    """What happens inside raises OutOfMemory where no memory is left. what: is tried, for the message."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory_shortage(error):
            raise
        raise OutOfMemory(f"{what} does not fit in memory", fix=fix) from error


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest in spelling, or None where none is close."""
    found = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return found[0] if found else None
