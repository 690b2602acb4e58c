"""A server as a process: bytes that are no HTTP, the end by a signal, and the end at once by a second one."""

# ruff: noqa: E402  (packages that may be missing come first)

import json
import re
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
def server(*head_seconds):
    """The process, and what connects to it."""
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.fake_server", *head_seconds],
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


@pytest.fixture(scope="module")
def patient():
    """What connects to a server that waits two seconds for a head; tests leave it as it was."""
    with server("2") as (_, connect):
        yield connect


def post(content, *headers, path=b"/v1/models/reviews:predict"):
    return b"\r\n".join([b"POST %s HTTP/1.1" % path, b"Host: localhost", *headers, b"", content])


def predict(*texts):
    content = json.dumps({"inputs": texts}).encode()
    return post(content, b"Content-Length: %d" % len(content))


def everything(connection):
    """All bytes until the server closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def statuses(answers):
    """Of all answers on a connection, without the interim ones."""
    return [int(each) for each in re.findall(rb"HTTP/1\.1 ([2-5]\d\d) [A-Z]", answers)]


RUBBISH = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no method": b"\r\n\r\nnonsense\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nX: " + b"a" * (HEAD_BYTES + 1) + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * HEAD_BYTES + b"\r\n",
    "many short headers": post(b"{}", *[b"X-%d: a" % i for i in range(4000)], b"Content-Length: 2"),
    "a long path": b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "one letter": b"P",
    "an empty line": b"\r\n",
    "half a head": predict("a")[:40],
    "half a body": predict("a")[:-3],
    "chunks that are none": post(b"zz\r\n", b"Transfer-Encoding: chunked"),
    "half a body where none is read": post(b"abc", b"Content-Length: 9", path=b"/nowhere"),
    "a large body where none is read": post(b"a" * 3_000_000, b"Content-Length: 3000000", b"Connection: close", path=b"/nowhere"),
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
                (status,) = statuses(everything(connection))
                assert 400 <= status < 500, name
                assert status == {"a long head": 431, "many headers": 431, "many short headers": 431, "a long path": 414}.get(name, status)
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
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["event"] for line in lines if line["event"] != "server"][-3:] == ["draining", "request", "ended"]
    assert lines[-1]["left"] == 0
    assert "Traceback" not in said


def test_who_has_ended_sending_is_answered_and_who_has_gone_is_not():
    with server() as (process, connect):
        with connect() as waiting:
            waiting.sendall(predict("slow", "0.4") + predict("b") + b"rubbish\r\n\r\n")
            waiting.shutdown(socket.SHUT_WR)
            told = everything(waiting)
        assert statuses(told) == [200, 200, 400]  # in the order in which they were asked
        assert told.count(b"HTTP/1.1 100 Continue\r\n\r\n") >= 1
        with connect() as large:  # sends on after its answer was written, and is not reset before it reads it
            large.sendall(RUBBISH["a large body where none is read"])
            assert statuses(everything(large)) == [404]
        with connect() as gone, connect() as other:
            gone.sendall(predict("slow", "600") + predict("b"))  # the first is stopped, and the second never begun
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")  # so that the first was taken
            assert other.recv(65536).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [200, 200, 404, 200, 499]
    assert process.returncode == lines[-1]["left"] == 0


def stream(prompt):
    content = json.dumps({"model": "writer", "prompt": prompt, "stream": True}).encode()
    return post(content, b"Content-Length: %d" % len(content), path=b"/v1/completions")


def test_nothing_interim_is_sent_within_an_answer(patient):
    with patient() as waiting:
        waiting.sendall(stream("slow and in pieces") + predict("slow", "1.2"))
        waiting.shutdown(socket.SHUT_WR)
        told = everything(waiting)
    first, end, second = told.partition(b"\r\n0\r\n\r\n")
    assert end
    assert statuses(told) == [200, 200]
    assert b"100 Continue" not in first
    assert b"100 Continue" in second


def test_a_head_that_does_not_come_takes_no_answer_away_and_keeps_no_connection(patient):
    with patient() as first, patient() as second, patient() as third:
        first.sendall(predict("slow", "3") + b"GET / HT")
        second.sendall(predict("a"))
        third.sendall(post(b"a", b"Content-Length: 9", path=b"/nowhere"))
        for connection, status, more in ((second, 200, b"\r\n"), (third, 404, b"b")):
            told = connection.recv(65536)
            connection.sendall(more)
            assert statuses(told + everything(connection)) == [status]
        assert statuses(everything(first)) == [200, 408]


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
