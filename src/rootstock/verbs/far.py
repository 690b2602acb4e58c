"""What is said between a process and one that it has on another machine: lines in a file that both see, and a file that asks to stop."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rootstock.core.errors import OutOfMemory, RootstockError, is_memory_shortage
from rootstock.core.watch import Event, Watch

_SAID, _STOP = "said.jsonl", "stop"


class Mouth:
    """Notes and events of who works, by lines below `place`; and whether the other side asked to stop."""

    def __init__(self, place: Path) -> None:
        self._said = (place / _SAID).open("a", buffering=1, encoding="utf-8")
        self._stop = place / _STOP

    def say(self, text: str) -> None:
        """A note for a person."""
        self._tell({"say": text})

    def event(self, event: Event) -> None:
        """An event for a progress line."""
        self._tell({"event": event})

    def read(self, sources: Mapping[str, Any]) -> None:
        """What was read."""
        self._tell({"read": sources})

    def stop(self) -> bool:
        """Whether the other side asked to stop."""
        return self._stop.exists()

    def _tell(self, line: Mapping[str, Any]) -> None:
        self._said.write(json.dumps(line) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._said.close()


class Ear:
    """Passes on to a watch what a Mouth of the same place says, and to it the wish to stop."""

    def __init__(self, place: Path, watch: Watch) -> None:
        self._place, self._watch = place, watch
        self._at = 0

    def listen(self) -> None:
        """What was said since the last time; a line that is not whole yet comes the next time."""
        if self._watch.stop():
            self.ask()
        path = self._place / _SAID
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self._at)
            said = stream.read()
        whole = said[: said.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.decode("utf-8").splitlines():
            self._pass_on(json.loads(line))

    def ask(self) -> None:
        """Ask the other side to save and stop."""
        (self._place / _STOP).touch()

    def _pass_on(self, told: dict[str, Any]) -> None:
        for kind, pass_on in (("say", self._watch.say), ("event", self._watch.event), ("read", self._watch.read)):
            if kind in told:
                pass_on(told[kind])


def outcome(work: Callable[[], Any]) -> dict[str, Any]:
    """What came of some work, for JSON: `done` with what it gives, or `error` with the name of its class and what it says."""
    try:
        return {"done": work()}
    except RootstockError as error:
        return {"error": type(error).__name__, "found": error.found, "wanted": error.wanted, "fix": error.fix}
    except (MemoryError, RuntimeError) as error:
        if not is_memory_shortage(error):
            raise
        return {"error": OutOfMemory.__name__, "found": "no memory left", "wanted": "", "fix": "lower training.micro_tokens"}
