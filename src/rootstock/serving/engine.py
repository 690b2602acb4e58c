"""Many models over few bases, answered in batches: what `rootstock serve` stands on.

All coroutines belong to one event loop; `load`, `add` and `unload` block and may be called from any other thread.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.serving.settings import EngineSettings
from rootstock.serving.told import Answer, ModelInfo, Piece, Writing

Row = Mapping[str, Any]
"""{"text": …}, of pairs also "text_pair", of choices "choices" (a list), of words "words" (a list) in place of "text"."""
Prompt = str | Sequence[Mapping[str, str]]
"""A text to go on from, or a conversation: {"role": …, "content": …} each."""


class Engine:
    """opener: opens a folder as a run (rootstock.run.served.engine passes it, and is what makes engines)."""

    def __init__(self, settings: EngineSettings, opener: Callable[[Path], Any]) -> None:
        self.settings = settings
        self._opener = opener

    def add(self, name: str, folder: Path) -> ModelInfo:
        """Gate and contract of a model, and not yet its weights: these are read when it is asked for. A name again: the folder anew."""
        raise NotImplementedError

    def load(self, name: str, folder: Path) -> ModelInfo:
        """The same with its weights. UsageError for no run, Refused by gate or contract; then what was served under the name still is."""
        raise NotImplementedError

    def unload(self, name: str) -> None:
        """Serve a model no more; returns when its rows in flight are answered. UnknownModel where it is none."""
        raise NotImplementedError

    def models(self) -> list[ModelInfo]:
        """All of them by name, in memory or on disk."""
        raise NotImplementedError

    async def predict(self, name: str, rows: Sequence[Row], *, timeout_s: float) -> list[Answer]:
        """What offline `predict` answers. Cancelling gives the rows' places free.

        Raises Overloaded (retry_after), UnknownModel (nearest), RowRefused (index, why), TimedOut; UsageError for a model that only writes.
        """
        raise NotImplementedError

    async def embed(self, name: str, texts: Sequence[str], *, timeout_s: float) -> np.ndarray:
        """Vectors of length 1 in float32, [N, H]. The same errors; UsageError where the model has no vectors of texts."""
        raise NotImplementedError

    def stream(self, name: str, prompt: Prompt, how: Writing) -> AsyncIterator[Piece]:
        """A text as it is written. Closing the iterator stops the writing.

        Raises at the first piece: Overloaded, UnknownModel, RowRefused (no room for the prompt), UsageError (no writer).
        """
        raise NotImplementedError

    async def drain(self) -> None:
        """Accept nothing more (Draining), and return when all that was accepted is answered."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the workers. What is still waiting is TimedOut."""
        raise NotImplementedError

    def figures(self) -> dict[str, Any]:
        """Counters and gauges by name, nested one deep by model or stage at most; counters only ever grow.

        queue_rows, rows_in_flight, batches, rows, padded_tokens, real_tokens, cancelled_rows, refused_rows, timed_out_rows, loads,
        evictions, loaded, on_disk, streams, written_tokens (numbers); seconds {"encode", "compute", "wait", "load"}; rows_by_model {…};
        precision (a word), workers.
        """
        raise NotImplementedError
