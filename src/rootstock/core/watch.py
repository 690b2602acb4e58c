"""How a run talks and is talked to."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

Say = Callable[[str], None]
Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Notes for a person, events for a progress line, and the question whether to stop. started: time.monotonic().

    read: gets what a run has read by parts, with names and digests, before anything is built.
    judged: gets what an evaluation's figures are made of, a row each, just before its event. enough: whether the training is to end
    after so many updates, as if it had come to its end. goes_back: whether a training that breaks goes on from its last checkpoint at a
    lower rate; not where rates are what is compared.
    """

    say: Say = lambda text: None
    event: Callable[[Event], None] = lambda event: None
    stop: Callable[[], bool] = lambda: False
    read: Callable[[Mapping[str, Any]], None] = lambda sources: None
    judged: Callable[[Mapping[str, Any]], None] = lambda columns: None
    enough: Callable[[int], bool] = lambda step: False
    goes_back: bool = True
    started: float = field(default_factory=time.monotonic)


STOPS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""Ctrl-C, the request to end, and a terminal that was closed."""


class Stops:
    """The first of STOPS as a request to save and stop; the second stops at once. Only the main thread hears them.

    after: what is done before it stops, in words; it is saved.
    """

    def __init__(self, say: Say, *, after: str = "the next update of the training") -> None:
        self._say, self._after, self._asked = say, after, False
        self._before: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        """Whether the user has asked to stop."""
        return self._asked

    def __enter__(self) -> Self:
        for number in STOPS if threading.current_thread() is threading.main_thread() else ():
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup and shells that start jobs in the background ask to be left alone
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _ask(self, number: int, _: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._say(f"stopping after {self._after}; press Ctrl-C again to stop at once without saving")
