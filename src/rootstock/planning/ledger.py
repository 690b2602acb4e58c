"""The user's own ledger of plans: what each run was forecast to take beside what it took, one JSON object a line of one local file.

Nothing is sent anywhere. A line is written by one call under a lock, so two runs at once keep both; a line that can't be read is skipped
and counted; beyond MOST lines the oldest go.
"""

import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rootstock.core.artifact import whole_file
from rootstock.core.lock import alone
from rootstock.core.resources import state_folder

VARIABLE, AUTO, OFF = "ROOTSTOCK_LEDGER", "auto", "off"
MOST = 4_000
"""Lines that are kept: about 4 MB. A quarter goes at once, so that most lines cost no more than their own bytes."""
_FORMAT = 1
FEWEST = 5
"""Pairs from which a median has an interval: with five, the least and the largest hold it in 94 of 100 cases."""
_LEVEL = 0.95
FIGURES = {"bytes": "memory", "seconds": "time"}
"""What is forecast and measured, as a line calls it and in words."""

Entry = dict[str, Any]


class Kept(NamedTuple):
    """What a ledger holds, the oldest first. broken: lines that can't be read."""

    entries: list[Entry]
    broken: int


@dataclass(frozen=True, kw_only=True)
class Error:
    """How far forecasts were off: planned / measured - 1. worst: the one farthest from zero, with its sign.

    low, high, level: an interval of the median and its coverage; None with fewer than FEWEST pairs.
    """

    count: int
    median: float
    worst: float
    low: float | None = None
    high: float | None = None
    level: float | None = None


def place(setting: str = AUTO) -> Path | None:
    """Where the ledger lies; None where it is off. The setting goes before ROOTSTOCK_LEDGER, but off in either is off."""
    named = os.environ.get(VARIABLE, AUTO)
    if OFF in (setting, named):
        return None
    chosen = named if setting == AUTO else setting
    return state_folder() / "plans.jsonl" if chosen in (AUTO, "") else Path(chosen).expanduser()


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line. OSError where the place can't be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"format": _FORMAT, **entry}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with alone(path, patience=math.inf):  # beside it, as the ledger may be replaced meanwhile
        held = path.read_bytes() if path.exists() else b""
        lines = held.splitlines(keepends=True)
        if len(lines) >= MOST:
            with whole_file(path) as beside:
                beside.write_bytes(b"".join([*lines[-3 * MOST // 4 :], line]))
            return
        torn = b"\n" if held and not held.endswith(b"\n") else b""  # a process was killed while it wrote: its line ends here
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, torn + line)
        finally:
            os.close(handle)


def read(path: Path | None) -> Kept:
    """All that the ledger holds; nothing where there is none."""
    lines = path.read_bytes().splitlines() if path and path.is_file() else []
    found = [_entry(line) for line in lines if line.strip()]
    return Kept([each for each in found if each is not None], sum(each is None for each in found))


def _entry(line: bytes) -> Entry | None:
    """One line as it was written, or None: torn, of another format, or with what is no number where one belongs."""
    try:
        held = json.loads(line)
    except ValueError:
        return None
    if not isinstance(held, dict) or held.get("format") != _FORMAT:
        return None
    sides = [held.get("planned"), held.get("measured")]
    whole = all(isinstance(held.get(key), str) for key in ("base", "method")) and all(isinstance(side, dict) for side in sides)
    numbers = [side.get(name) for side in sides if isinstance(side, dict) for name in FIGURES]
    good = whole and all(number is None or (isinstance(number, int | float) and math.isfinite(number) and number > 0) for number in numbers)
    return held if good and isinstance(held.get("left_out"), dict) else None


def summary(kept: Kept) -> list[dict[str, Any]]:
    """By base and method: runs, errors of memory and time, and why figures of some runs are left out."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in kept.entries:
        groups.setdefault((entry["base"], entry["method"]), []).append(entry)
    return [
        {
            "base": base,
            "method": method,
            "runs": len(entries),
            **{word: _told(error(entries, name)) for name, word in FIGURES.items()},
            "left_out": _reasons(entries),
        }
        for (base, method), entries in sorted(groups.items())
    ]


def _told(found: Error | None) -> dict[str, Any] | None:
    return asdict(found) if found else None


def _reasons(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """By figure: how many runs have no pair of it, and why."""
    found: dict[str, dict[str, int]] = {}
    for entry in entries:
        for name, reason in entry["left_out"].items():
            counts = found.setdefault(FIGURES.get(name, name), {})
            counts[str(reason)] = counts.get(str(reason), 0) + 1
    return found


def error(entries: Iterable[Entry], name: str) -> Error | None:
    """The error of one figure, "bytes" or "seconds"; None where no entry has a pair of it."""
    pairs = ((entry["planned"].get(name), entry["measured"].get(name)) for entry in entries if name not in entry["left_out"])
    errors = sorted(planned / measured - 1 for planned, measured in pairs if planned and measured)
    if not errors:
        return None
    found = Error(count=len(errors), median=statistics.median(errors), worst=max(errors, key=abs))
    if len(errors) < FEWEST:
        return found
    rank, level = _interval(len(errors))
    return Error(**{**asdict(found), "low": errors[rank], "high": errors[-1 - rank], "level": level})


def _interval(count: int) -> tuple[int, float]:
    """How many values to leave out at each end so that the rest still holds the median, whatever the distribution; and its coverage.

    A value lies below the median like a coin falls: of so many, at most `rank` fall on one side with a chance that is summed exactly.
    """
    outside, rank = 2 * 0.5**count, 0
    while (more := outside + 2 * math.comb(count, rank + 1) * 0.5**count) <= 1 - _LEVEL:
        outside, rank = more, rank + 1
    return rank, 1 - outside


def like(entries: Sequence[Entry], *, base: str, task: str, device: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By method: what runs of this base and task took on this very device, and how far their forecasts were off."""
    found: dict[str, list[Entry]] = {}
    for each in entries:
        if (each["base"], each.get("task"), each.get("device")) == (base, task, dict(device)):
            found.setdefault(each["method"], []).append(each)
    return {method: told for method, held in found.items() if (told := _like(held))}


def _like(entries: list[Entry]) -> dict[str, Any] | None:
    held = [each["measured"]["bytes"] for each in entries if "bytes" not in each["left_out"] and each["measured"].get("bytes")]
    off = {word: found.median for name, word in FIGURES.items() if (found := error(entries, name))}
    return {"runs": len(held), "bytes": [min(held), max(held)], "off": off} if held else None
