"""A server as a process: bytes that are no HTTP, the end by a signal, and the end at once by a second one."""

# ruff: noqa: E402  (packages that may be missing come first)

import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

for needed in ("httptools", "uvicorn", "fastapi", "prometheus_client"):
    pytest.importorskip(needed, reason="needs the extra serve")

from rootstock.core.errors import UsageError
from rootstock.serving.process import Place
from rootstock.serving.protocol import HEAD_BYTES


@contextmanager
def server():
    """The process, and what connects to it."""
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.fake_server"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(started.stdout.readline())
        yield started, lambda: socket.create_connection(("127.0.0.1", port), timeout=30)
    finally:
        started.kill()
        started.communicate()


def predict(*texts):
    content = json.dumps({"inputs": texts}).encode()
    return b"POST /v1/models/reviews:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(content) + content


def everything(connection):
    """All bytes until the server closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


RUBBISH = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no method": b"\r\n\r\nnonsense\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nX: " + b"a" * (HEAD_BYTES + 1) + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * HEAD_BYTES + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
    "only a name": b"CONNECT localhost:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "an upgrade": b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n",
}


def test_a_signal_lets_what_is_inside_finish():
    with server() as (process, connect):
        for name, content in RUBBISH.items():
            with connect() as connection:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                assert everything(connection)[:10] == b"HTTP/1.1 4", name
        with connect() as first, connect() as second:
            first.sendall(predict("slow", "0.5", "three"))
            second.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert second.recv(65536).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            answer = everything(first)
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in head
        assert len(json.loads(content)["predictions"]) == 3
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["event"] for line in lines if line["event"] != "server"][-3:] == ["draining", "request", "ended"]
    assert lines[-1]["left"] == 0
    assert "Traceback" not in said


def test_a_second_signal_ends_it_at_once():
    with server() as (process, connect), connect() as connection:
        connection.sendall(predict("slow", "600"))
        process.send_signal(signal.SIGTERM)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")  # so that the first was heard
        while not process.stderr.readline().count("draining"):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130


def test_places_that_can_not_be_had(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UsageError, match="can't listen"):
        Place(port=other.getsockname()[1]).bound()
    with pytest.raises(UsageError, match="can't listen"):
        Place(host="no-such-host.invalid").bound()
    with pytest.raises(UsageError, match="needs its key"):
        Place(certificate=tmp_path / "a.pem").check()
    (tmp_path / "a.pem").write_text("nothing")
    with pytest.raises(UsageError, match="can't be used"):
        Place(certificate=tmp_path / "a.pem", key=tmp_path / "a.pem").check()
