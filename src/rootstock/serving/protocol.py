"""uvicorn's HTTP/1.1 over httptools, with what it lacks: bounds on a head's size and time, and an answer to whoever has ended sending."""

import asyncio
from types import SimpleNamespace
from typing import Any

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from rootstock.serving.refusals import Turned
from rootstock.serving.visit import BROKEN

HEAD_BYTES = 32 << 10
HEAD_SECONDS = 15.0
_AROUND_BYTES = 4
"""Of a header beside its name and value: so many short ones are as large a head as few long ones."""
_LINGER_SECONDS = 2.0
_PROBE_SECONDS = 0.05
"""After which a client that ended sending is asked for the first time whether it is there; each time twice as long, up to the next."""
_PROBE_MOST_SECONDS = 2.0
_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_HTTP = Turned(400, "this is no HTTP/1.1 request", code="invalid_http")
_LATE = Turned(408, "the head did not arrive in time", code="slow_head")


class BoundedHttp(HttpToolsProtocol):  # type: ignore[misc]  # the package is not followed
    """What is no request gets a 4xx, whatever the client does meanwhile; one that sends no head in time is closed, once it has its answers.

    A client may end sending and wait for its answer; one that has gone sends the same sign, and can't be told apart until something is
    sent to it. So both are sent interim answers, which the one skips, and at which the other's machine says that nobody is there.
    """

    _size = 0
    _pending = False
    """Bytes came that are no whole request yet."""
    _inside = False
    """Its head is there, its body not yet."""
    _over = False
    """What still comes is read and dropped: closing on a client that still sends would take the answer from it."""
    _ended = False
    """The client sends no more."""
    _why = _NO_HTTP
    _left = False
    _owed = False
    """A refusal is to be sent once the requests before it are answered."""
    _cycles: tuple[Any, ...] = ()
    """Requests without a whole answer, in the order in which they came: the first is the one that is answered now."""
    _timer: asyncio.TimerHandle | None = None
    _probing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """From here on the first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more, by either side: of several requests uvicorn would let the last one alone know."""
        self._head_came()
        if self._probing is not None:
            self._probing.cancel()
        for each in self._cycles:
            each.disconnected = each.disconnected or not each.response_complete
            each.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes, as long as they are wanted."""
        if not self._over:
            self._pending = True
            super().data_received(data)
        if self._pending and not self._over and not (self._inside and self._answering):
            self._await_head()  # for a line end alone as well, or the rest of a body that nobody reads: to uvicorn it is not idle any more

    def eof_received(self) -> bool:
        """The client sends no more. True: what it asked is still to be answered."""
        self._ended = True
        if self._pending and not self._over:
            self._break_off()
        if not self._answering or self.scheme == "https":  # whose end is that of both directions
            return False
        self._ask_whether_there(_PROBE_SECONDS)
        return True

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls on bytes that are no HTTP, or where a callback raised."""
        self._break_off()

    def on_message_begin(self) -> None:
        """A head begins, perhaps the next on this connection."""
        self._size, self._pending = 0, True
        self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the path."""
        self._count(len(url), 414, "the path is too long")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or one that comes after a body in chunks."""
        self._count(len(name) + len(value) + _AROUND_BYTES, 431, "the head is too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_came()
        super().on_headers_complete()
        self._inside = True
        if self.cycle is not None:
            self._cycles = (*(each for each in self._cycles if not each.response_complete), self.cycle)
            wire = self.transport
            self.cycle.transport = SimpleNamespace(write=wire.write, is_closing=wire.is_closing, close=self._leave)

    def on_message_complete(self) -> None:
        """The body is there too."""
        self._pending = self._inside = False
        self._head_came()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is sent; the last one to a client that sends no more, or whose next request broke off, ends the connection."""
        if self._left:
            return
        super().on_response_complete()
        if self._answering:
            return
        if self._owed:
            self._refuse()
        elif self._ended and not self.transport.is_closing():
            self.transport.close()

    @property
    def _answering(self) -> bool:
        """Whether a request has no whole answer yet; of several the last one that came is answered last."""
        return self.cycle is not None and not self.cycle.response_complete

    def _break_off(self) -> None:
        """What comes is no request, or no more of one: refuse it, after those before it."""
        self._over = True
        self._head_came()
        if not self._inside:
            self._owed = True
            if not self._answering:
                self._refuse()
        elif not self._answering:  # its answer did not need the body
            self._leave()
        else:  # whoever reads the body shall say so
            self.cycle.scope[BROKEN] = True
            self.cycle.more_body = self.cycle.keep_alive = False
            self.cycle.message_event.set()

    def _refuse(self) -> None:
        self._owed = False
        body = to_json(self._why.told)
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[self._why.status] + head + body)
        self._pending = True
        self._leave()

    def _leave(self) -> None:
        """Close; on a client that may still be sending, once it has closed."""
        self._left = True
        if self._ended or not self._pending:
            self.transport.close()
            return
        self._over = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._head_came()
        self._timer = self.loop.call_later(_LINGER_SECONDS, self._too_late)

    def _ask_whether_there(self, seconds: float) -> None:
        """Send something each time: the second thing that is sent to a client that has gone fails, and ends what is done for it."""
        self._probing = self.loop.call_later(seconds, self._probe, min(2 * seconds, _PROBE_MOST_SECONDS))

    def _probe(self, seconds: float) -> None:
        if self.transport.is_closing() or not self._answering:
            return
        now = next(each for each in self._cycles if not each.response_complete)
        if not now.response_started and now.scope["http_version"] == "1.1":  # within an answer it would be taken for a part of it
            self.transport.write(_PROBE)
        self._ask_whether_there(seconds)

    def _count(self, size: int, status: int, said: str) -> None:
        self._size += size
        if self._size > HEAD_BYTES:
            self._why = Turned(status, said, code="head_too_large")
            raise ValueError(said)  # which the parser makes an error of its own, and uvicorn a call of send_400_response

    def _await_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _head_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self._answering and not self._left:
            self._why = _LATE
            self._break_off()
        elif not self.transport.is_closing():
            self.transport.close()
