"""What the process that tries steps does: sizes come in a line each, and the peak of memory goes back."""

import gc
import json
import resource
import sys
import tempfile
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import torch

from rootstock.core.errors import is_memory_shortage
from rootstock.core.resources import peak_since, private_memory, resident_memory, restart_peak
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.watch import Watch
from rootstock.loop.history import History
from rootstock.loop.train import Training
from rootstock.run.build import Built, build
from rootstock.run.execute import job, later
from rootstock.run.prepare import prepare

_ROOM = 1.25
"""Above the limit, where the system refuses more memory: the end of this process, and not of another."""


def serve(recipe: Path, limit: int) -> None:
    """Answer each line of standard input, a number of tokens, with the peak bytes of a step on so many, or null where it did not fit."""
    prepared = prepare(read_recipe(recipe), lambda text: None)
    built, watch = build(prepared, None, Watch(), dry=True), Watch()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(History(Path(folder) / "history.jsonl")) as history,
        closing(Training(job(prepared, built, RunFolder(Path(folder)), watch, history))) as training,
    ):
        _fence(limit)
        for line in sys.stdin:
            sys.stdout.write(f"{json.dumps(_peak(training, built, int(line), workers=prepared.recipe.cluster.workers))}\n")
            sys.stdout.flush()


def _fence(limit: int) -> None:
    """Let the system refuse what is far above the limit."""
    with suppress(OSError, ValueError):
        room = private_memory() + int(_ROOM * max(limit - resident_memory(), 0))
        resource.setrlimit(resource.RLIMIT_DATA, (room, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _peak(training: Training, built: Built, tokens: int, *, workers: int) -> int | None:
    """Most bytes held in a step on the longest rows of so many tokens, all passing at once, with what a training holds later."""
    feed = replace(built.feed, micro=tokens, budget=tokens)
    rows, training.job = feed.longest(), replace(training.job, feed=feed)
    gc.collect()
    restart_peak()
    try:
        training.rehearse(rows)
    except (MemoryError, RuntimeError) as error:
        if not is_memory_shortage(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
    return peak_since() + later(training, built, workers=workers)
