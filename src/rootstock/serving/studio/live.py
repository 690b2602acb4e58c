"""The one stream of a page: which runs changed, and the curves of the run that it shows, while it grows.

Curves are drawn from the whole history whenever it has grown, by the code that draws them for the report: a curve that is watched and the
one in the report can't differ.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from rootstock.core.errors import RootstockError
from rootstock.serving.studio.bench import Bench
from rootstock.serving.studio.index import Index
from rootstock.serving.studio.wire import event, refusal

LIST_SECONDS = 2.0
CURVE_SECONDS = 0.5
_BEAT_SECONDS = 15.0


async def stream(index: Index, bench: Bench, followed: Path | None, ending: Callable[[], bool]) -> AsyncIterator[str]:
    """Events "runs" (changed and gone) and "curves" until nobody listens, or the studio ends. followed: the run that the page shows."""
    known = {seen.id: seen for seen in await run_in_threadpool(index.runs)}
    yield "retry: 2000\n" + event("open", {"runs": len(known)})
    listed = beaten = time.monotonic()
    drawn: tuple[int, int] | None = None
    while not ending():
        if followed and (grown := _stamp(followed / "history.jsonl")) != drawn:
            drawn = grown
            yield await run_in_threadpool(_curves, bench, followed)
        if time.monotonic() - listed >= LIST_SECONDS:
            now = {seen.id: seen for seen in await run_in_threadpool(index.runs)}
            changed, gone = [seen for name, seen in now.items() if known.get(name) != seen], sorted(known.keys() - now.keys())
            known, listed = now, time.monotonic()
            if changed or gone:
                yield event("runs", {"changed": changed, "gone": gone})
        if time.monotonic() - beaten >= _BEAT_SECONDS:
            beaten = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(CURVE_SECONDS)
    yield event("end", {})


def _curves(bench: Bench, followed: Path) -> str:
    try:
        return event("curves", {"charts": bench.curves(followed)})
    except RootstockError as error:
        return event("curves", {"charts": [], "refused": refusal(error)})


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        told = os.stat(path)
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size
