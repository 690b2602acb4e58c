"""One of several engines behind one door: Ray Serve starts as many as the traffic asks for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rootstock.serving.told import Answer, Piece, Vectors, Writing

if TYPE_CHECKING:  # tried without torch
    from rootstock.serving.engine import Engine

Reader = Callable[[str], Coroutine[Any, Any, str]]
Routed = Callable[[Reader, int], Reader]
"""Makes of what reads a model one that remembers as many as it is told, the latest ones, and lets the router know which these are."""


class Replica:
    """make: an engine without models. folders: of all models by name, the same on every machine. routed: see `Routed`.

    A model is read when it is first asked for here, through gate and contract; its own router sends its next requests here too.
    """

    def __init__(self, make: "Callable[[], Engine]", folders: Mapping[str, Path], routed: Routed) -> None:
        engine = make()

        async def read(name: str) -> str:
            await asyncio.to_thread(engine.load, name, folders[name])
            return name

        self._engine, self._hold = engine, routed(read, engine.settings.max_loaded)

    async def predict(self, name: str, rows: Sequence[Mapping[str, Any]], timeout_s: float) -> list[Answer]:
        """As the engine's."""
        await self._hold(name)
        return await self._engine.predict(name, rows, timeout_s=timeout_s)

    async def embed(self, name: str, texts: Sequence[str], timeout_s: float) -> Vectors:
        """As the engine's."""
        await self._hold(name)
        return await self._engine.embed(name, texts, timeout_s=timeout_s)

    async def stream(self, name: str, prompt: str | Sequence[Mapping[str, str]], how: Writing) -> AsyncIterator[Piece]:
        """As the engine's."""
        await self._hold(name)
        async for piece in self._engine.stream(name, prompt, how):
            yield piece

    def __del__(self) -> None:
        """Ray calls it once the last request is answered."""
        if hasattr(self, "_engine"):
            self._engine.close()
