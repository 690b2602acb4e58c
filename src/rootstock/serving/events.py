"""Server-sent events: a piece of an answer each, as it is made."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rootstock.core.errors import RootstockError
from rootstock.serving.refusals import Turned, of_engine
from rootstock.serving.visit import attended

_DONE = b"data: [DONE]\n\n"


class Events(Response):  # type: ignore[misc]  # the package is not followed
    """seconds: how long a piece may take, the time included in which the client takes it. The pieces end when the client hangs up."""

    def __init__(self, pieces: AsyncGenerator[Mapping[str, Any], None], seconds: float) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-store"}, "text/event-stream")
        del self.headers["content-length"]
        self._pieces, self._seconds = pieces, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them all, and [DONE]; after an error its object, and no [DONE]."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._pieces) as pieces:
            try:
                await attended(receive, self._send(pieces, send))
                last = _DONE
            except Turned as turned:
                last = _event(turned.told)
            except RootstockError as error:
                last = _event(of_engine(error, "prompt").told)
            except TimeoutError:
                last = _event(Turned(504, "the next piece took too long", code="timed_out").told)
        await send({"type": "http.response.body", "body": last})

    async def _send(self, pieces: AsyncIterator[Mapping[str, Any]], send: Send) -> None:
        more = True
        while more:
            async with asyncio.timeout(self._seconds):
                piece = await anext(pieces, None)
                if more := piece is not None:
                    await send({"type": "http.response.body", "body": _event(piece), "more_body": True})


def _event(value: Any) -> bytes:
    return b"data: " + to_json(value) + b"\n\n"
