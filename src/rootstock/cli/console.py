"""What a person sees while a run goes on: notes and a live line on stderr, results on stdout."""

import json
import os
import signal
import sys
import time
from typing import Any

_REFRESH_SECONDS = 0.5
_SHOWN = ("accuracy", "micro_f1", "macro_f1", "spearman", "pearson", "log_loss", "root_mean_squared_error")


class Console:
    """Notes, one live line on a terminal (one line an evaluation elsewhere), and the first Ctrl-C or SIGTERM as a request to stop."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown, self._drawn = 0.0, False
        self._asked = False
        self._first: tuple[float, float] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self.say("stopping after this update; press Ctrl-C again to stop at once without saving")

    def stop(self) -> bool:
        """Whether the user has asked to stop."""
        return self._asked

    def say(self, text: str) -> None:
        """One line on stderr."""
        self._clear()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def event(self, event: dict[str, Any]) -> None:
        """Show a training event."""
        if event["event"] == "evaluation":
            shown = "  ".join(f"{key} {event[key]:.4f}" for key in _SHOWN if key in event)
            best = "  (best)" if event["best_step"] == event["step"] else ""
            self.say(f"evaluate  step {event['step']:,}  epoch {event['epoch']:.2f}  {shown}{best}")
        elif self._live and time.monotonic() - self._shown > _REFRESH_SECONDS:
            self._draw(event)

    def _draw(self, event: dict[str, Any]) -> None:
        now, progress = time.monotonic(), event["progress"]
        self._first = self._first or (now, progress)
        done = progress - self._first[1]
        left = (1 - progress) * (now - self._first[0]) / done if done > 0 else 0.0
        rate = event["rows"] / max(event["seconds"], 1e-9)
        figures = f"loss {event['loss']:.4f}  rate {event['rate']:.2e}  {rate:,.0f} rows/s"
        line = f"train     {progress:4.0%}  step {event['step']:,}  {figures}  {_span(left)} left"
        sys.stderr.write(f"\r\x1b[2K{line}")
        sys.stderr.flush()
        self._shown, self._drawn = now, True

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            self._drawn = False


def show(value: Any, text: str, *, as_json: bool) -> None:
    """A result on stdout: JSON for machines, text for people."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str) if as_json else text)


def assignments(pairs: list[str]) -> dict[str, Any]:
    """`section.key=value` pairs as a mapping, each value read as YAML. Raises UsageError where there is no `=`."""
    import yaml

    from rootstock.core.errors import UsageError

    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {pair}", wanted="section.key=value, such as method.r=16")
        # YAML 1.1 reads 3e-4 as a string; numbers are meant.
        found[key] = _number(value) if _number(value) is not None else yaml.safe_load(value)
    return found


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
