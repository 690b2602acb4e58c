"""A server in this process on a fake engine, and its client; what needs the extra serve skips without it."""

import asyncio
import io
import json
import threading

import pytest
from tests.serving.fake_engine import FakeEngine

from rootstock.serving.journal import Journal


class House:
    """A server with what it is made of. ask: one request, on a loop of its own."""

    def __init__(self, **rules):
        from rootstock.serving.app import front
        from rootstock.serving.door import Rules

        self.engine, self.lines = FakeEngine(), io.StringIO()
        self.journal = Journal(self.lines)
        self.front = front(self.engine, Rules(**rules), self.journal)

    def run(self, work):
        """work(client) on a loop of its own."""
        import httpx

        async def go():
            transport = httpx.ASGITransport(self.front.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await work(client)

        return asyncio.run(go())

    def ask(self, method, path, **more):
        return self.run(lambda client: client.request(method, path, **more))

    def predict(self, *inputs, model="reviews", **more):
        return self.ask("POST", f"/v1/models/{model}:predict", json={"inputs": list(inputs)}, **more)

    def log(self):
        """The lines of the journal, which ends with this."""
        self.journal.close()
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]


@pytest.fixture
def house():
    for module in ("fastapi", "prometheus_client"):
        pytest.importorskip(module, reason="needs the extra serve")
    pytest.importorskip("httpx", reason="needs httpx")
    made = []

    def make(**rules):
        made.append(House(**rules))
        return made[-1]

    yield make
    for each in made:
        each.journal.close()


@pytest.fixture(scope="session")
def studio_runs(tmp_path_factory, tiny_base, short_pages):
    """The folder that the studio shows, made once; a browser draws its reports, so these are whole."""
    from tests.serving.studio_runs import made

    from rootstock.report import charts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "library", short_pages)
        return made(tmp_path_factory.mktemp("studio"), tiny_base)


@pytest.fixture(scope="session")
def studio_server(studio_runs):
    """The studio over it, answering."""
    from rootstock.verbs import studio

    server = studio.opened(studio_runs, 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join(20)
    assert not thread.is_alive()
