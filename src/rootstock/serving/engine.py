"""Many models over few bases, answered in batches: what `rootstock serve` stands on.

A request is admitted (or refused, when too much waits already), encoded with others of its model, passed through its base in one batch with
rows of other models, and put together by its task as offline `predict` puts it. Coroutines belong to an event loop and never compute;
`add`, `load` and `unload` block and may be called from any thread.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rootstock.core.errors import RootstockError, TimedOut, UsageError
from rootstock.core.resources import usable_cores
from rootstock.serving import numbers, writing
from rootstock.serving.opening import Opening, Source
from rootstock.serving.rows import Row, table
from rootstock.serving.settings import EngineSettings
from rootstock.serving.shelf import Entry, Shelf
from rootstock.serving.told import Answer, ModelInfo, Piece, Vectors, Writing
from rootstock.serving.waiting import Ticket, Waiting
from rootstock.serving.working import Workers
from rootstock.serving.writing import Prompt


class Engine:
    """opener: opens a folder as a run. rootstock.run.served.engine passes it, and is what makes engines."""

    def __init__(self, settings: EngineSettings, opener: Callable[[Path], Source], *, device: str = "cpu") -> None:
        self.settings = settings
        self.format = numbers.choose(settings.precision, device)
        count = (settings.threads or usable_cores()) if device == "cpu" else 1
        self._shelf = Shelf(Opening(opener, self.format, torch.device(device)), settings.max_loaded)
        self._pinned: dict[Ticket, Entry] = {}
        self._waiting = Waiting(settings, count, lambda ticket: self._shelf.unpin(self._pinned.pop(ticket)))
        self._workers = Workers(self._waiting, count)
        self._reader = ThreadPoolExecutor(1, "rootstock-read")
        self._writers: dict[writing.Writer, Entry] = {}
        self._cores = torch.get_num_threads()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("refused_rows", "cancelled_rows", "timed_out_rows", "streams", "written_tokens"), 0)
        self._workers.start()

    def add(self, name: str, folder: Path) -> ModelInfo:
        """Gate and contract of a model, and not yet its weights: these are read when it is asked for. A name again: the folder anew."""
        return self._shelf.add(name, folder, now=False)

    def load(self, name: str, folder: Path) -> ModelInfo:
        """The same with its weights. UsageError for no run, Refused by gate or contract; then what was served under the name still is."""
        return self._shelf.add(name, folder, now=True)

    def unload(self, name: str) -> None:
        """Serve a model no more; returns when its rows in flight are answered. UnknownModel where it is none."""
        self._shelf.remove(name)

    def models(self) -> list[ModelInfo]:
        """All of them by name, in memory or on disk."""
        return self._shelf.infos()

    async def predict(self, name: str, rows: Sequence[Row], *, timeout_s: float) -> list[Answer]:
        """What offline `predict` answers. Cancelling gives the rows' places free.

        Raises Overloaded (retry_after), UnknownModel (nearest), RowRefused (index, why), TimedOut.
        """
        return (await self._timed(name, rows, timeout_s))[0]

    async def embed(self, name: str, texts: Sequence[str], *, timeout_s: float) -> Vectors:
        """Vectors of texts. The same errors; UsageError where the model has none."""
        info = self._shelf.info(name)
        if "embed" not in info.can:
            raise UsageError(f"{name} ({info.task}) has no vectors of texts", wanted="a model of embedding", fix="ask it to predict")
        found, tokens = await self._timed(name, [{"text": text} for text in texts], timeout_s)
        return Vectors(np.array([each["predicted"] for each in found], np.float32), tokens)

    async def stream(self, name: str, prompt: Prompt, how: Writing) -> AsyncIterator[Piece]:
        """A text as it is written. Closing the iterator stops the writing.

        Raises at the first piece: Overloaded, UnknownModel, RowRefused (no room for the prompt), UsageError (no writer).
        """
        entry = await self._hold(name)
        pieces: asyncio.Queue[Piece | RootstockError] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        try:
            assert entry.model is not None
            writing.check(entry.model, how)
            with self._workers.words:
                asked = writing.read(entry.model, prompt)
            writer = writing.Writer(entry.model, asked, how, partial(_tell, loop, pieces.put_nowait))
            self._waiting.began()
        except BaseException:
            self._shelf.unpin(entry)
            raise
        self._writers[writer] = entry
        self._count("streams", 1)
        self._waiting.step(partial(self._turn, writer))
        try:
            while True:
                piece = await pieces.get()
                if isinstance(piece, RootstockError):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            writer.stopped = True

    async def drain(self) -> None:
        """Accept nothing more (Draining), and return when all that was accepted is answered."""
        await asyncio.to_thread(self._waiting.drain)

    def close(self) -> None:
        """Stop the workers. What is still waiting is TimedOut."""
        for ticket in self._waiting.close():
            if self._waiting.bury(ticket):
                ticket.settle(TimedOut("the server was stopped"))
        self._workers.join()
        for writer in list(self._writers):
            writer.tell(TimedOut("the server was stopped"))
            self._over(writer)
        self._reader.shutdown()
        torch.set_num_threads(self._cores)  # what a worker sets is also the default of threads that come later

    def figures(self) -> dict[str, Any]:
        """Numbers by name, nested one deep by model or stage at most.

        Gauges: queue_rows (admitted and not answered), rows_in_flight (of these, in a batch now), loaded, on_disk, streams, workers.
        Counters: batches, rows, padded_tokens, real_tokens, cancelled_rows, refused_rows, timed_out_rows, loads, evictions, written_tokens;
        seconds {encode, compute, wait, load}; rows_by_model. precision is a word.
        """
        counts = self._workers.counts
        loaded, on_disk = self._shelf.counts()
        with counts.lock, self._lock:
            return {
                **{name: getattr(counts, name) for name in ("batches", "rows", "padded_tokens", "real_tokens")},
                **self._counts,
                "queue_rows": self._waiting.rows,
                "rows_in_flight": self._waiting.passing,
                "loads": self._shelf.loads,
                "evictions": self._shelf.evictions,
                "loaded": loaded,
                "on_disk": on_disk,
                "workers": self._workers.count,
                "seconds": {**counts.seconds, "load": self._shelf.load_seconds},
                "rows_by_model": dict(counts.rows_by_model),
                "precision": self.format.said,
            }

    async def _timed(self, name: str, rows: Sequence[Row], timeout_s: float) -> tuple[list[Answer], int]:
        """Answers in so many seconds, and how many tokens were read for them."""
        self._shelf.info(name)
        if not len(rows):
            return [], 0
        try:
            async with asyncio.timeout(timeout_s):
                return await self._predict(name, rows)
        except TimeoutError:
            self._count("timed_out_rows", len(rows))
            raise TimedOut(f"no answer in {timeout_s:g} s", wanted="fewer rows, or more time", fix="ask again later") from None

    async def _predict(self, name: str, rows: Sequence[Row]) -> tuple[list[Answer], int]:
        entry = await self._hold(name)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        try:
            assert entry.model is not None
            ticket = Ticket(entry.model, table(rows, entry.info, entry.model.task), partial(_tell, loop, partial(_settle, future)))
            self._pinned[ticket] = entry
            try:
                self._waiting.admit(ticket, self._pace())
            except RootstockError:
                del self._pinned[ticket]
                self._count("refused_rows", len(rows))
                raise
        except BaseException:
            self._shelf.unpin(entry)
            raise
        try:
            answers = await future
            return answers, int(ticket.encoded.lengths.sum()) if ticket.encoded else 0
        finally:
            if self._waiting.bury(ticket):
                self._count("cancelled_rows", len(rows))

    async def _hold(self, name: str) -> Entry:
        """The model of a name, pinned; read from disk where it is not in memory."""
        while (entry := self._shelf.pin(name)) is None:
            await asyncio.get_running_loop().run_in_executor(self._reader, self._shelf.read, name, time.monotonic())
        return entry

    def _turn(self, writer: writing.Writer) -> bool:
        """A turn of a text that is being written."""
        before = writer.written
        more = writer.turn()
        self._count("written_tokens", writer.written - before)
        if not more:
            self._over(writer)
        return more

    def _over(self, writer: writing.Writer) -> None:
        """A text is written, or nobody wants it any more."""
        self._count("streams", -1)
        self._waiting.ended()
        self._shelf.unpin(self._writers.pop(writer))

    def _pace(self) -> float:
        """Rows a second that all workers answer together."""
        counts = self._workers.counts
        return self._workers.count * counts.rows / counts.seconds["compute"] if counts.seconds["compute"] else 0.0

    def _count(self, name: str, more: int) -> None:
        with self._lock:
            self._counts[name] += more


def _tell(loop: asyncio.AbstractEventLoop, take: Callable[[Any], None], found: Any) -> None:
    """Hand something over to an event loop, which may be gone."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(take, found)


def _settle(future: "asyncio.Future[list[Answer]]", found: Any) -> None:
    if future.done():
        return
    if isinstance(found, RootstockError):
        future.set_exception(found)
    else:
        future.set_result(found)
