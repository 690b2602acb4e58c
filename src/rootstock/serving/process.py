"""A server's life: a socket, uvicorn, and an end at which everything that was accepted is answered."""

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from rootstock.core.errors import UsageError
from rootstock.serving.app import Front
from rootstock.serving.door import Door
from rootstock.serving.journal import Journal
from rootstock.serving.protocol import BoundedHttp

_FLUSH_SECONDS = 10
"""How long clients may take to read the last answers."""
_LAST_TENTHS = 30
"""For how many tenths of a second at most a server that has nothing left to answer tells so."""
_AT_ONCE = 130


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server listens. port 0: any that is free. certificate and key: files in PEM."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def check(self) -> None:
        """Raises UsageError for TLS files that don't do."""
        if (self.certificate is None) != (self.key is None):
            raise UsageError("a certificate needs its key", wanted="--tls-cert and --tls-key")
        if self.certificate is None or self.key is None:
            return
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.certificate} and {self.key} can't be used: {' '.join(str(error).split())}",
                wanted="a certificate in PEM and its key without a password",
            ) from None

    def bound(self) -> socket.socket:
        """The socket, taken but not yet listening. Raises UsageError where it can't be had."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise self._taken(error) from None
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except (OSError, OverflowError) as error:
            found.close()
            raise self._taken(error) from None
        return found

    def _taken(self, error: Exception) -> UsageError:
        return UsageError(f"can't listen on {self.host}:{self.port}: {error}", fix="choose another --port or --host")

    def url(self, taken: socket.socket) -> str:
        """What to ask."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.certificate else ''}://{name}:{taken.getsockname()[1]}"


def _no_password() -> str:
    raise ValueError("the key has a password")


@dataclass(frozen=True, kw_only=True)
class Life:
    """What goes on beside the answers. begun: called when the server listens. beside: runs until it ends. drain: the engine's."""

    begun: Callable[[], None]
    drain: Callable[[], Awaitable[None]]
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None


def serve(front: Front, place: Place, taken: socket.socket, journal: Journal, life: Life) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what was accepted and return; a second signal ends the process at once."""
    _hear(journal)
    config = uvicorn.Config(
        front.app,
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_FLUSH_SECONDS,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_live(uvicorn.Server(config), taken, front, journal, life))


async def _live(server: uvicorn.Server, taken: socket.socket, front: Front, journal: Journal, life: Life) -> None:
    serving = asyncio.ensure_future(server.serve(sockets=[taken]))
    await asyncio.sleep(0)  # by now uvicorn has taken the signals, and ours replace its handlers
    ending: list[asyncio.Future[None]] = []

    async def end() -> None:
        journal.note("draining", inside=front.door.busy)
        await front.door.drain()
        await life.drain()
        await _silence(front.door)
        server.should_exit = True

    def ask() -> None:
        if ending:
            journal.note("stopped", inside=front.door.busy)
            journal.close()
            os._exit(_AT_ONCE)  # workers in the middle of a product can't be stopped otherwise, and there is nothing to save
        ending.append(asyncio.ensure_future(end()))

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask)
    while not (server.started or serving.done()):
        await asyncio.sleep(0.001)
    beside = asyncio.ensure_future(life.beside()) if life.beside else None
    life.begun()
    await serving
    if beside:
        beside.cancel()


async def _silence(door: Door) -> None:
    """Wait until nobody asks any more: what has been sent and not read yet gets its 503, and no connection that is reset."""
    for _ in range(_LAST_TENTHS):
        seen = door.seen
        await asyncio.sleep(0.1)
        if door.seen == seen:
            return


def _hear(journal: Journal) -> None:
    """uvicorn's warnings as lines of the journal, without traces."""

    class Passed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            journal.note("server", level=record.levelname.lower(), message=record.getMessage())

    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Passed(logging.WARNING)], False
        logger.setLevel(logging.WARNING)
