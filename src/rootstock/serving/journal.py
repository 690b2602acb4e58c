"""What a server did, as JSON lines on stderr: never a text, a token or a header that somebody sent."""

import sys
import threading
import time
from collections import deque
from typing import Any, TextIO

from pydantic_core import to_json

_MOST = 20_000
_PAUSE_SECONDS = 0.05


class Journal:
    """Lines go to a thread of their own: a slow terminal or a full pipe holds up no answer. What is too much is dropped and counted."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lines: deque[dict[str, Any]] = deque()
        self._dropped, self._ended = 0, threading.Event()
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    def note(self, event: str, **more: Any) -> None:
        """One line. event: what it is, in a word."""
        if len(self._lines) >= _MOST:
            self._dropped += 1
            return
        self._lines.append({"time": time.time(), "event": event, **more})

    def close(self) -> None:
        """Write what is left; where nobody reads it, no longer than a second is waited."""
        self._ended.set()
        self._writer.join(1.0)

    def _write(self) -> None:
        while not self._ended.wait(_PAUSE_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if self._dropped:
            lines.append({"time": time.time(), "event": "dropped", "lines": self._dropped})
            self._dropped = 0
        if not lines:
            return
        for line in lines:
            line["time"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(line["time"])) + f".{int(line['time'] % 1 * 1000):03d}Z"
        try:
            self._stream.write("".join(to_json(line, fallback=str).decode() + "\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):
            self._ended.set()  # nobody reads any more: no reason to serve no longer
