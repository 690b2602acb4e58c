"""What a person sees while a run goes on: notes and a live line on stderr, results on stdout."""

import json
import os
import sys
import time
from collections.abc import Collection
from typing import Any

_REFRESH_SECONDS = 0.5
_STEP = "  step {step:,}  loss {loss:.4f}  rate {rate:.2e}"
_FIGURES = {"step": ("train", _STEP), "warm-up": ("warm-up", _STEP), "features": ("features", ""), "corpus": ("corpus", "")}
"""Kind of event, what the live line calls it, and what it shows of it."""
_SHOWN = (
    *("loss", "bits_per_byte", "accuracy", "micro_f1", "f1", "exact_match", "macro_f1", "ndcg@10", "accuracy@1"),
    *("spearman", "pearson", "log_loss", "root_mean_squared_error"),
)


class Console:
    """Notes, and one live line on a terminal (one line an evaluation elsewhere)."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown, self._drawn = 0.0, False
        self._first: tuple[str, float, float] | None = None

    def say(self, text: str) -> None:
        """One line on stderr."""
        self._clear()
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except BrokenPipeError:
            # Nobody reads the notes any more: no reason to lose the run, nor to fail when the rest is flushed at the end.
            self._live = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def event(self, event: dict[str, Any]) -> None:
        """Show a training event."""
        if event["event"] == "evaluation":
            shown = "  ".join(f"{key} {event[key]:.4f}" for key in _SHOWN if key in event)
            best = "  (best)" if event["best_step"] == event["step"] else ""
            self.say(f"evaluate  step {event['step']:,}  epoch {event['epoch']:.2f}  {shown}{best}")
        elif event.get("loss", 0) is None:  # an update in which nothing was asked
            return
        elif self._live and time.monotonic() - self._shown > _REFRESH_SECONDS:
            self._draw(event)

    def _draw(self, event: dict[str, Any]) -> None:
        """Redraw the live line: how far, how fast, how long still."""
        now, progress = time.monotonic(), event.get("progress")
        if self._first is None or self._first[0] != event["event"]:
            self._first = event["event"], now, progress or 0.0
        name, figures = _FIGURES[event["event"]]
        rate = event["rows"] / max(event["seconds"], 1e-9)
        if progress is None:
            line = f"{name:<10}{event['rows']:,} {event['unit']}  {rate:,.0f}/s"
        else:
            done = progress - self._first[2]
            left = (1 - progress) * (now - self._first[1]) / done if done > 0 else 0.0
            line = f"{name:<10}{progress:4.0%}{figures.format(**event)}  {rate:,.0f} rows/s  {_span(left)} left"
        self._write(f"\r\x1b[2K{line}")
        self._shown, self._drawn = now, True

    def _clear(self) -> None:
        if self._drawn:
            self._write("\r\x1b[2K")
            self._drawn = False


def show(value: Any, text: str, *, as_json: bool) -> None:
    """A result on stdout: JSON for machines, text for people. A reader that left early ends the command as SIGPIPE would."""
    try:
        print(json.dumps(value, indent=2, ensure_ascii=False, default=str) if as_json else text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails again
        raise SystemExit(141) from None


def assignments(pairs: list[str]) -> dict[str, Any]:
    """`section.key=value` pairs as a mapping, each value read as YAML. Raises UsageError where there is no `=`."""
    import yaml

    from rootstock.core.errors import UsageError
    from rootstock.core.settings import number

    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {pair} has no {'=' if not sign else 'key'}", wanted="section.key=value, such as --set method.r=16")
        try:
            found[key] = told if (told := number(value)) is not None else yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--set {pair}: the value is no YAML", wanted="a number, a word, or a [list, of, words]") from None
    return found


def check_beside(context: Any, mode: str, names: Collection[str]) -> None:
    """Raise UsageError for an option that was given and means nothing beside `mode`. names: parameters that mean something there."""
    from rootstock.core.errors import UsageError

    for each in context.command.params:
        source = context.get_parameter_source(each.name)
        if each.name not in names and source is not None and source.name != "DEFAULT":
            option = each.opts[0] if each.opts[0].startswith("-") else each.name
            raise UsageError(f"{option} is given, and means nothing beside {mode}", fix=f"leave {option} or {mode} out")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
