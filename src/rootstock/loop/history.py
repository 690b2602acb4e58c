"""history.jsonl: one object an event, appended as it happens; the truth that trackers mirror."""

import json
import os
import time
from pathlib import Path
from typing import Any, TextIO

from rootstock.core.artifact import write_text, writing

_FLUSH_SECONDS = 1.0


class History:
    """An append-only file of events. On resume the events after the checkpoint's step are dropped: they will happen again.

    measured: whether that step had been measured when the checkpoint was saved.
    """

    def __init__(self, path: Path, *, keep_until: int | None = None, measured: bool = True) -> None:
        self.path = path
        self._flushed = time.monotonic()
        if keep_until is None:
            write_text(path, "")
        else:
            kept = [event for event in read(path) if event["step"] <= keep_until - (event["event"] == "evaluation" and not measured)]
            write_text(path, "".join(json.dumps(event) + "\n" for event in kept))
        self._stream: TextIO = path.open("a", encoding="utf-8")

    def note(self, event: dict[str, Any]) -> None:
        """Append one event; on disk within a second."""
        with writing(self.path):
            self._stream.write(json.dumps(event) + "\n")
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._stream.flush()
                self._flushed = time.monotonic()

    def sync(self) -> None:
        """Put all events on disk: a checkpoint must not know more than the history."""
        with writing(self.path):
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Put the last events on disk."""
        with writing(self.path):
            self._stream.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a history; a last line cut short by a kill is left out."""
    events = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events
