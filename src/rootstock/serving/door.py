"""The way into a server: every request passes here before anything is read of it, and every answer leaves here, counted and logged."""

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rootstock.core.errors import RootstockError
from rootstock.serving.journal import Journal
from rootstock.serving.limits import Limits, Rates, Tokens
from rootstock.serving.meters import Meters
from rootstock.serving.refusals import UNAVAILABLE, Turned, broken, busy, draining, of_engine, unrouted
from rootstock.serving.visit import KEY, Visit

OPEN = frozenset(("/healthz", "/readyz", "/docs", "/openapi.json"))
"""Paths that need no token: they tell nothing of the models, nor of who asks."""
_ALWAYS = frozenset(("/healthz", "/readyz", "/metrics"))
"""Paths that are answered while all else is turned away."""

_CLOSE = ((b"connection", b"close"),)
Shortcut = Callable[[Scope, Receive], Coroutine[Any, Any, Response] | None]
"""An endpoint that is asked past the router, which takes longer than the rest of a small request; None: the router knows."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who may come in. hosts: names that a request may call this server by, None for any; so that a page whose name was pointed at this

    machine does not get in. origins: web pages that may ask.
    """

    limits: Limits = field(default_factory=Limits)
    tokens: Tokens | None = None
    hosts: frozenset[str] | None = None
    origins: tuple[str, ...] = ()


class Door:
    """An ASGI application around another. It knows how many are inside, and when the last has left."""

    def __init__(self, inner: ASGIApp, rules: Rules, journal: Journal) -> None:
        self._inner, self._rules, self._journal = inner, rules, journal
        self._rates = Rates(rules.limits.rate) if rules.limits.rate else None
        self.meters: Meters | None = None
        self.shortcut: Shortcut = lambda scope, receive: None
        self.busy, self.seen, self.draining = 0, 0, False
        self._empty = asyncio.Event()
        self._empty.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; pass on what concerns the server's own life."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        visit = scope[KEY] = Visit(scope)
        stamps = (b"x-request-id", visit.id.encode()), (b"x-content-type-options", b"nosniff")

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message["headers"], *stamps, *(_CLOSE if self.draining else ())]
            await send(message)

        self.busy += 1
        self.seen += 1
        self._empty.clear()
        try:
            await self._pass(visit, receive, sending)
        finally:
            self.busy -= 1
            if not self.busy:
                self._empty.set()
            self._record(visit)

    async def _pass(self, visit: Visit, receive: Receive, send: Send) -> None:
        try:
            self._admit(visit)
            made = self.shortcut(visit.scope, receive)
            if made is None:
                await self._inner(visit.scope, receive, send)
            else:
                await (await made)(visit.scope, receive, send)
        except Exception as error:  # the last place where a fault of ours can be kept from the client, who gets no trace of it
            response = self.response(visit, error)
            if visit.status:
                return  # the answer was sent, or had begun: that it breaks off is all that can be told
            await response(visit.scope, receive, send)

    def response(self, visit: Visit, error: Exception) -> Response:
        """What a client is told of an error, and the log where it is one of ours."""
        match error:
            case Turned():
                return error.response()
            case HTTPException():
                return unrouted(error).response()
            case RootstockError():
                turned = of_engine(error, "input")
                if turned.code == UNAVAILABLE:
                    self._journal.note("error", id=visit.id, model=visit.model, error=str(error))
                return turned.response()
        if visit.fault:
            return broken().response()
        visit.fault = True
        trace = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        self._journal.note("fault", id=visit.id, error=type(error).__name__, trace=trace[-12:])  # without its text, which may be somebody's
        return broken().response()

    def _admit(self, visit: Visit) -> None:
        """Raises Turned for whoever may not come in."""
        visit.read_headers()
        path, limits = visit.scope["path"], self._rules.limits
        visit.path = path if path in OPEN | _ALWAYS else "other"
        self._check_host(visit)
        if self.draining and path not in _ALWAYS:
            raise draining()
        if self.busy > limits.requests and path not in _ALWAYS:
            raise busy(1, "too many requests at once", "overloaded")
        if path not in OPEN:
            visit.asker = self._asker(visit)
            if self._rates and (seconds := self._rates.wait(visit.asker)):
                raise busy(seconds, f"more than {limits.rate:,} requests a minute", "rate_limit_exceeded")

    def _check_host(self, visit: Visit) -> None:
        host = visit.headers.get(b"host", b"").decode("latin-1").lower()
        if not host:
            raise Turned(400, "a request without Host", code="no_host")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._rules.hosts is not None and name not in self._rules.hosts:
            raise Turned(403, "the server is not known by this name", code="wrong_host")
        origin = visit.headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._rules.origins and origin.partition("://")[2] != host:
            raise Turned(403, "pages of this origin may not ask; --cors-origin lets one in", code="wrong_origin")

    def _asker(self, visit: Visit) -> str:
        """The name of the token, or the address where no tokens are asked for."""
        if self._rules.tokens is None:
            return str((visit.scope.get("client") or ("",))[0])
        scheme, _, token = visit.headers.get(b"authorization", b"").partition(b" ")
        name = self._rules.tokens.name_of(token.strip()) if scheme.lower() == b"bearer" else None
        if name is None:
            raise Turned(401, "wanted Authorization: Bearer TOKEN", code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        return name

    def _record(self, visit: Visit) -> None:
        seconds = time.perf_counter() - visit.started
        if self.meters is not None:
            self.meters.count(visit, seconds)
        who = visit.asker if self._rules.tokens else None
        told = {"method": visit.scope["method"] if visit.scope["method"] in ("GET", "POST") else "other", "path": visit.path}
        told |= {key: value for key, value in (("model", visit.model), ("token", who), ("rows", visit.rows)) if value}
        self._journal.note("request", id=visit.id, **told, status=visit.status, ms=round(seconds * 1000, 2))

    async def drain(self) -> None:
        """Let nobody in any more, and return when all are out."""
        self.draining = True
        await self._empty.wait()
