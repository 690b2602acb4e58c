"""The studio on a port of this machine, until Ctrl-C."""

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from rootstock.core.errors import UsageError
from rootstock.serving.studio.app import Studio
from rootstock.serving.studio.bench import Bench
from rootstock.serving.studio.guard import Guard
from rootstock.serving.studio.index import Index

HOST = "127.0.0.1"


class Server:
    """Listens from the start, answers once it is run. address: what a person opens, with the token of this start.

    Raises UsageError for a folder that is none, or a port that is taken. port: 0 takes a free one.
    """

    def __init__(self, root: Path, bench: Bench, port: int) -> None:
        if not root.is_dir():
            fix = "name the folder that holds your runs"
            raise UsageError(f"{root} {'is a file' if root.exists() else 'does not exist'}", wanted="a folder of runs", fix=fix)
        self.index = Index(root)
        self._socket = _listening(port)
        studio = Studio(self.index, bench, ending=lambda: self._server.should_exit)
        self._guard = Guard(studio.app(), self._socket.getsockname()[1])
        made = uvicorn.Config(
            self._guard, log_config=None, lifespan="off", server_header=False, timeout_graceful_shutdown=3, timeout_keep_alive=30,
            access_log=False, date_header=False, proxy_headers=False, ws="none",
        )  # fmt: skip
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a stream that ends with the studio is no error
        self._server = uvicorn.Server(made)

    @property
    def address(self) -> str:
        """What a person opens."""
        return self._guard.address

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Answer until the process is asked to end. ready: called once, before."""
        ready()
        try:
            self._server.run(sockets=[self._socket])
        except KeyboardInterrupt:
            return  # the way to end it
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End soon: from another thread."""
        self._server.should_exit = True


def _listening(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except (OSError, OverflowError) as error:
        made.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        wanted = "a port that is free" if taken else "a port from 1024 to 65535"
        raise UsageError(f"can't listen on port {port}", wanted=wanted, fix="choose another --port; 0 takes a free one") from None
    made.listen(128)
    return made
