"""One request on its way: who asks, for what, and the two things that every answer needs: the body in bounds, and an ear for hanging up."""

import asyncio
import time
from collections.abc import Coroutine
from secrets import token_hex
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.types import Receive, Scope

from rootstock.serving.limits import Limits
from rootstock.serving.refusals import Turned, invalid
from rootstock.serving.schema import Body

KEY = "rootstock.visit"
BROKEN = "rootstock.broken"
"""In the scope of a request whose body ended before its end."""
_SINGLE = frozenset((b"host", b"origin", b"authorization", b"content-type", b"content-length", b"content-encoding"))
_JSON = (b"application/json", b"application/x-www-form-urlencoded", b"")
"""What a body may be called: curl -d says form-urlencoded of anything. A page elsewhere can send that too, and is stopped by its Origin."""

_HEARD_OUT = 4
"""How many times the limit of a body is read before the connection is closed on a client that goes on sending."""

T = TypeVar("T")
B = TypeVar("B", bound=Body)


class Visit:
    """What is known of a request. model and rows: as far as it came; they and the status are what the log tells. fault: one was noted."""

    __slots__ = ("asker", "fault", "headers", "id", "model", "path", "rows", "scope", "started", "status")

    def __init__(self, scope: Scope) -> None:
        self.scope, self.id, self.started = scope, token_hex(8), time.perf_counter()
        self.headers: dict[bytes, bytes] = {}
        self.status, self.rows, self.fault = 0, 0, False
        self.model: str | None = None
        self.path, self.asker = "", ""

    def read_headers(self) -> None:
        """The headers that matter. Raises Turned where one comes twice: two readers might take different ones."""
        for name, value in self.scope["headers"]:
            if name in _SINGLE:
                if name in self.headers:
                    raise Turned(400, f"the header {name.decode()} comes twice", code="double_header")
                self.headers[name] = value


def visit_of(scope: Scope) -> Visit:
    """The visit of a request that came through the door."""
    found: Visit = scope[KEY]
    return found


async def body_of(scope: Scope, receive: Receive, kind: type[B], limits: Limits) -> B:
    """The body, read no further than the limit, and checked. Raises Turned."""
    _check_kind(visit_of(scope).headers)
    try:
        async with asyncio.timeout(limits.body_seconds):
            content = await _read(receive, limits.body_bytes, _length(visit_of(scope).headers))
    except TimeoutError:
        raise Turned(408, "the body did not arrive in time", code="slow_body", headers={"Connection": "close"}) from None
    if scope.get(BROKEN):
        raise Turned(400, "the body broke off", code="broken_body", headers={"Connection": "close"})
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise invalid(error) from None


def _check_kind(headers: dict[bytes, bytes]) -> None:
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind not in _JSON:
        raise Turned(415, "wanted Content-Type: application/json", code="content_type")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Turned(415, "a compressed body is not taken", code="content_encoding")


def _length(headers: dict[bytes, bytes]) -> int:
    """The body's length as it is told; 0 where it is not."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise Turned(400, "Content-Length is no number", code="content_length")
    return int(length[:18]) if len(length) <= 18 else 1 << 60


async def _read(receive: Receive, most: int, told: int) -> bytes:
    """The body. Of one that is too large nothing is kept; a little more is read, for a client that is still sending would find its

    connection reset, and no answer.
    """
    parts, size, more = [], 0, told <= _HEARD_OUT * most
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise gone()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False) and size <= _HEARD_OUT * most
        if max(size, told) <= most:
            parts.append(message.get("body", b""))
        else:
            parts.clear()
    if max(size, told) > most:
        raise Turned(413, f"the body is larger than {most:,} bytes", code="body_too_large", headers={"Connection": "close"})
    return parts[0] if len(parts) == 1 else b"".join(parts)


def gone() -> Turned:
    """The client hung up. Nobody reads this answer; the number is for the log."""
    return Turned(499, "the client went away", code="client_gone")


async def attended(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up; then Turned 499. The body must have been read."""
    asking, left = asyncio.current_task(), False
    assert asking is not None

    async def listen() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        asking.cancel()

    listener = asyncio.ensure_future(listen())
    try:
        return await work
    except asyncio.CancelledError:
        if left and not asking.uncancel():
            raise gone() from None
        raise
    finally:
        listener.cancel()
