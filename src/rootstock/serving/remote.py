"""An engine's face in the process of the door, while replicas elsewhere answer: each request goes where its model is in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rootstock.core.errors import Overloaded, RootstockError, RunFailed, TimedOut, UnknownModel
from rootstock.serving.told import Answer, ModelInfo, Piece, Vectors, Writing

_TRIES = 3
"""A replica that dies takes its requests with it; an answer changes nothing, so another replica may give it."""
_GRACE_SECONDS = 5.0
"""Beyond a request's own time, in which a replica tells by itself that it is over."""


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What a handle raises. any: all of it. busy: more is waiting already than may. lost: the replica went away."""

    any: tuple[type[BaseException], ...]
    busy: tuple[type[BaseException], ...]
    lost: tuple[type[BaseException], ...]


class RemoteEngine:
    """handle: of the deployment of replicas. infos: all models that can be asked; they were looked at when they were deployed."""

    def __init__(self, handle: Any, infos: Sequence[ModelInfo], failures: Failures) -> None:
        self._handle, self._failures = handle, failures
        self._infos = {info.name: info for info in infos}

    def models(self) -> list[ModelInfo]:
        """All of them by name."""
        return list(self._infos.values())

    def figures(self) -> dict[str, Any]:
        """None: what replicas count is among Ray's own metrics."""
        return {}

    async def predict(self, name: str, rows: Sequence[Mapping[str, Any]], *, timeout_s: float) -> list[Answer]:
        """As the engine's."""
        answers: list[Answer] = await self._ask("predict", name, list(rows), timeout_s)
        return answers

    async def embed(self, name: str, texts: Sequence[str], *, timeout_s: float) -> Vectors:
        """As the engine's."""
        vectors: Vectors = await self._ask("embed", name, list(texts), timeout_s)
        return vectors

    async def stream(self, name: str, prompt: str | Sequence[Mapping[str, str]], how: Writing) -> AsyncIterator[Piece]:
        """As the engine's. A replica that dies while it writes ends the text."""
        pieces = self._to(name, "stream", stream=True).remote(name, prompt, how)
        try:
            async for piece in pieces:
                yield piece
        except self._failures.any as error:
            raise self._meant(error) from None
        finally:
            pieces.cancel()

    async def drain(self) -> None:
        """Nothing to wait for: Ray ends a replica once its requests are answered."""

    def _to(self, name: str, method: str, **more: Any) -> Any:
        """The way to a replica that has the model in memory, else to one that has the least to do. UnknownModel for none of ours."""
        if name not in self._infos:
            raise UnknownModel(name, self._infos)
        return self._handle.options(method_name=method, multiplexed_model_id=name, **more)

    async def _ask(self, method: str, name: str, given: list[Any], timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s + _GRACE_SECONDS):
                for tries_left in reversed(range(_TRIES)):
                    try:
                        return await self._once(self._to(name, method).remote(name, given, timeout_s))
                    except self._failures.lost:
                        if not tries_left:
                            raise
        except self._failures.any as error:
            raise self._meant(error) from None
        except TimeoutError:
            raise TimedOut(f"no answer in {timeout_s:g} s", wanted="fewer rows, or more time", fix="ask again later") from None

    async def _once(self, response: Any) -> Any:
        """An answer; when nobody waits for it any more, its rows' places on the replica are free again."""
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise

    def _meant(self, error: BaseException) -> BaseException:
        """One of ours where the replica raised it, or where Ray tells that it has none; else the error itself."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, RootstockError):
            return cause
        if isinstance(error, self._failures.busy):
            return Overloaded("too much waits for a replica", retry_after=1.0)
        if isinstance(error, self._failures.lost):
            return RunFailed("the replicas that were asked went away", fix="Ray's logs say why")
        return error
