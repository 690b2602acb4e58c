"""The most tokens that pass through a model at once: steps on the longest rows, doubled and then halved in between, under a limit.

Each is tried in a process of its own, whose end, also for want of memory, is an answer and takes nothing with it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from rootstock.core import artifact
from rootstock.core.errors import OutOfMemory, RunFailed, UsageError
from rootstock.core.resources import free_memory
from rootstock.core.runfolder import recipe_text
from rootstock.core.watch import Say
from rootstock.core.worker import beside, unlaunched
from rootstock.planning.forecast import ROOM
from rootstock.run.prepared import Prepared

SHARES = {"cpu": 0.5, "cuda": 0.9}
"""Of the memory that is free: on a processor other programs live in it too."""
_FINE = 1.1
"""The answer is that near to what would no longer fit."""
_HOPELESS = 1.5
"""Times the limit, by the two sizes before, from which on a size is not even tried."""

Measure = Callable[[int], int | None]
"""Peak bytes of a step on so many tokens; None where it did not fit."""


def find(prepared: Prepared, say: Say) -> dict[str, Any]:
    """The most tokens, the limit in bytes, what was tried, and a sentence. OutOfMemory where not even the longest row fits."""
    training, lengths_N = prepared.recipe.training, prepared.encoded.lengths
    assert training.batch_tokens is not None
    limit, share, asked = _limit(prepared)
    longest = int(lengths_N.max())
    most = max(longest, min(max(training.batch_tokens, training.micro), longest * len(lengths_N)))
    say(f"batch     trying steps of {longest:,} to {most:,} tokens in a process of its own")
    with _Trier(prepared, limit) as trier:
        try:
            tokens, tried = search(trier.measure, lowest=longest, most=most, limit=limit)
        except OutOfMemory as error:
            if asked:
                fix = "give more, lower training.length, or choose --method lora or feature-extraction"
                raise UsageError(f"--memory is {asked}: {error.found}", wanted="room for one row", fix=fix) from None
            raise
    passes = -(-training.batch_tokens // tokens)
    took = next(peak for size, peak in tried if size == tokens)
    reason = (
        f"{tokens:,} tokens at once take {(took or 0) / 1e9:.2f} GB of {limit / 1e9:.2f} GB ({share}); "
        + ("all that were tried" if tokens == most else "the most that fit")
        + f"; an update of {training.batch_tokens:,} is {passes} pass{'es' if passes > 1 else ''}"
    )
    return {"tokens": tokens, "limit_bytes": limit, "tried": [list(each) for each in tried], "reason": reason}


def _limit(prepared: Prepared) -> tuple[int, str, str | None]:
    """Bytes that may be held, in words what they are, and the budget where that is it: it leaves room for what a forecast is off by."""
    share, memory = SHARES[prepared.device], prepared.recipe.budget.memory_bytes
    sharing = beside() if prepared.device == "cpu" else 1
    free = int(share * free_memory(prepared.device)) // sharing
    if memory is not None and ROOM * memory < free:
        asked = prepared.recipe.budget.memory
        return int(ROOM * memory), f"{ROOM:.0%} of --memory {asked}", asked
    of = f", for each of {sharing} workers" if sharing > 1 else ""
    return free, f"{share:.0%} of the {'GPU' if prepared.device == 'cuda' else 'free'} memory{of}", None


def search(measure: Measure, *, lowest: int, most: int, limit: int) -> tuple[int, list[tuple[int, int | None]]]:
    """The largest size that stays below the limit, to a tenth, and each size tried with its peak."""
    tried: list[tuple[int, int | None]] = []

    def fits(tokens: int) -> bool:
        if len(known := [(size, peak) for size, peak in tried if peak is not None][-2:]) == 2:
            (a, peak_a), (b, peak_b) = known
            if a != b and peak_b + (peak_b - peak_a) / (b - a) * (tokens - b) > _HOPELESS * limit:
                return False
        peak = measure(tokens)
        tried.append((tokens, peak))
        return peak is not None and peak <= limit

    if not fits(lowest):
        held = f", which takes {(tried[0][1] or 0) / 1e9:.1f} GB" if tried[0][1] else ""
        raise OutOfMemory(
            f"not even the longest row fits in {limit / 1e9:.2f} GB{held}",
            fix="close other programs, lower training.length, or choose --method lora",
        )
    good, bad = lowest, most + 1
    while good < most:
        tokens = min(2 * good, most) if bad > most else (good + bad) // 2
        if bad <= most and bad < _FINE * good:
            break
        if tokens in (good, bad):
            break
        good, bad = (tokens, bad) if fits(tokens) else (good, tokens)
    return good, tried


class _Trier:
    """A process that tries steps; a new one where the last ended."""

    def __init__(self, prepared: Prepared, limit: int) -> None:
        self._folder, self._limit = tempfile.TemporaryDirectory(), limit
        self._recipe = Path(self._folder.name) / "recipe.yaml"
        artifact.write_text(self._recipe, recipe_text(prepared.recipe))
        self._process: subprocess.Popen[str] | None = None
        self._answered = False

    def measure(self, tokens: int) -> int | None:
        """Peak bytes of a step on so many tokens."""
        process = self._process or self._begun()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{tokens}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._end()
            if not self._answered:
                raise RunFailed(f"the process that tries steps ended: {self._said()}", fix="give training.micro_tokens as a number")
            return None
        self._answered = True
        peak: int | None = json.loads(line)
        return peak

    def _begun(self) -> subprocess.Popen[str]:
        code = "import sys; from pathlib import Path; from rootstock.run import tried; tried.serve(Path(sys.argv[1]), int(sys.argv[2]))"
        environment = unlaunched() | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        with (Path(self._folder.name) / "errors").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(self._recipe), str(self._limit)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return self._process

    def _said(self) -> str:
        lines = (Path(self._folder.name) / "errors").read_text().strip().splitlines()
        return lines[-1] if lines else "without a word"

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()
        self._folder.cleanup()
