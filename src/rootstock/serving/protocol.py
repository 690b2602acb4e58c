"""uvicorn's HTTP/1.1 over httptools, with the two bounds that it lacks: on a head's size, and on the time it takes."""

import asyncio
from typing import Any

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rootstock.serving.refusals import Turned

HEAD_BYTES = 32 << 10
HEAD_SECONDS = 15.0
_LINGER_SECONDS = 2.0


class BoundedHttp(HttpToolsProtocol):  # type: ignore[misc]  # the package is not followed
    """A head that is too large is answered with 400; a connection that sends none, or one that never ends, is closed."""

    _size = 0
    _over = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """From here on the first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes; after an error they are read and dropped, for closing on a client that still sends would take the answer from it."""
        if not self._over:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as all else that is wrong, and close once the client has."""
        self._over = True
        self._head_came()
        body = to_json(Turned(400, "this is no HTTP/1.1 request", code="invalid_http").told)
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % len(body) + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._timer = self.loop.call_later(_LINGER_SECONDS, self._too_late)
        else:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins, perhaps the next on this connection."""
        self._size = 0
        self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the path."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or one that comes after a body in chunks."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_came()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES:
            raise ValueError("the head is too large")  # which the parser makes an error of its own, and uvicorn a 400

    def _await_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _head_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
