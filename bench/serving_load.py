"""A client that costs little: prepared requests over kept connections, closed loops, or arrivals at a rate whatever the server does."""

import asyncio
import json
import math
import random
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Reply = tuple[int, bytes]


class Connection(asyncio.Protocol):
    """One kept connection with one request on it at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[Reply] | None = None
        self.open = False

    def connection_made(self, transport) -> None:
        self.transport, self.open = transport, True

    def connection_lost(self, error) -> None:
        self.open = False
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("no answer"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark or self._waiting is None:
            return
        low = head.lower()
        at = low.find(b"content-length:")
        length = int(low[at + 15 : low.find(b"\r", at) if low.find(b"\r", at) > 0 else None]) if at >= 0 else 0
        if len(rest) >= length:
            self._buffer = rest[length:]
            if b"connection: close" in low:
                self.open = False
                self.transport.close()
            if not self._waiting.done():
                self._waiting.set_result((int(head[9:12]), rest[:length]))

    async def ask(self, content: bytes) -> Reply:
        """One request; ConnectionResetError where the server hangs up without an answer."""
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(content)
        return await self._waiting


async def connect(port: int) -> Connection:
    _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return made


def request(path: str, value: object) -> bytes:
    """A POST as bytes."""
    body = json.dumps(value).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def rounded(value: float) -> float | None:
    """For JSON, which knows no infinity."""
    return round(value, 3) if math.isfinite(value) else None


@dataclass
class Tally:
    """What became of requests. seconds: of those that were answered with 200."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    lost: int = 0

    def count(self, status: int, seconds: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.seconds.append(seconds)

    def quantile(self, share: float) -> float:
        """Of all that was asked: who is turned away or lost waits longer than anybody who is answered, infinitely long."""
        ordered = sorted(self.seconds)
        asked = len(ordered) + self.lost + sum(count for status, count in self.statuses.items() if status != 200)
        place = min(int(share * asked), asked - 1)
        return ordered[place] if 0 <= place < len(ordered) else math.inf

    def told(self, wall: float) -> dict:
        ms = {f"p{int(share * 100)}_ms": rounded(self.quantile(share) * 1000) for share in (0.5, 0.9, 0.99)}
        return {"rate": round(len(self.seconds) / wall, 2), **ms, "statuses": self.statuses, "lost": self.lost, "seconds": round(wall, 2)}


async def closed(port: int, contents: list[bytes], seconds: float, connections: int = 64) -> dict:
    """Each connection asks again as soon as it is answered."""
    tally, until, begun = Tally(), time.perf_counter() + seconds, time.perf_counter()

    async def worker(number: int) -> None:
        rng, line = random.Random(number), await connect(port)
        while time.perf_counter() < until:
            if not line.open:
                line = await connect(port)
            start = time.perf_counter()
            try:
                status, _ = await line.ask(rng.choice(contents))
                tally.count(status, time.perf_counter() - start)
            except ConnectionResetError:
                tally.lost += 1
        line.transport.close()

    await asyncio.gather(*map(worker, range(connections)))
    return tally.told(time.perf_counter() - begun)


class Pool:
    """Kept connections, as many as are needed at once."""

    def __init__(self, port: int) -> None:
        self.port, self.free = port, []

    async def take(self) -> Connection:
        while self.free:
            line = self.free.pop()
            if line.open:
                return line
        return await connect(self.port)

    def give(self, line: Connection) -> None:
        if line.open:
            self.free.append(line)


async def arriving(port: int, contents: list[bytes], seconds: float, rate: float, *, seed: int = 0, most: int = 1000) -> dict:
    """Poisson arrivals: what is measured begins when a request was due, so that a slow server can't slow down its own measurement.

    It ends: more than `most` are not asked at once (they count as lost), and the last are waited for no longer than the load lasted.
    """
    tally, pool, rng, inside = Tally(), Pool(port), random.Random(seed), set()
    begun = due = time.perf_counter()

    async def one(content: bytes, due: float) -> None:
        try:
            line = await pool.take()
            status, _ = await line.ask(content)
            tally.count(status, time.perf_counter() - due)
            pool.give(line)
        except OSError:
            tally.lost += 1

    while (due := due + rng.expovariate(rate)) < begun + seconds:
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        if len(inside) >= most:
            tally.lost += 1
            continue
        task = asyncio.ensure_future(one(rng.choice(contents), due))
        inside.add(task)
        task.add_done_callback(inside.discard)
    late = (await asyncio.wait(inside, timeout=max(seconds, 5)))[1] if inside else set()
    for task in late:
        task.cancel()
    tally.lost += len(late)
    for line in pool.free:
        line.transport.close()
    return {"asked_rate": round(rate, 2), **tally.told(time.perf_counter() - begun)}


_STATUS = re.compile(rb"(?:HTTP/1\.1 1\d\d [^\r]*\r\n\r\n)*HTTP/1\.1 ([2-5]\d\d) ")
"""After "100 Continue", with which any answer may begin."""


def raw(port: int, content: bytes, seconds: float = 10.0, hang_up: Callable[[], bool] = lambda: False) -> int | None:
    """The status that these bytes get, whatever they are; None where the server says nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as line:
        said = b""
        try:
            line.sendall(content)
            if hang_up():
                return None
            line.shutdown(socket.SHUT_WR)
            while not _STATUS.match(said) and (part := line.recv(4096)):
                said += part
        except OSError:
            if not said:
                return None
    return int(found[1]) if (found := _STATUS.match(said)) else None


def run(work):
    """With uvloop where it is installed: the client should cost as little as it can."""
    try:
        import uvloop

        loop_factory = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(work)
