"""Many engines behind one door: answers, refusals and hang-ups are those of one engine, and a replica that dies troubles no client."""

import asyncio
from pathlib import Path

import pytest
from tests.serving.fake_engine import OVERLOADED, FakeEngine

from rootstock.serving.journal import Journal
from rootstock.serving.remote import Failures, RemoteEngine
from rootstock.serving.replica import Replica


class TaskError(Exception):
    """As Ray's: what was raised elsewhere, wrapped."""

    def __init__(self, cause):
        super().__init__("raised elsewhere")
        self.cause = cause


class Full(Exception):
    pass


class Gone(Exception):
    pass


FAILURES = Failures(any=(TaskError, Full, Gone), busy=(Full,), lost=(Gone,))


class Response:
    """What a handle gives: awaited, or gone through, and perhaps cancelled."""

    def __init__(self, work, raised):
        self.work, self.raised, self.task, self.cancelled = work, raised, None, False

    def __await__(self):
        if self.raised:
            raise self.raised
        self.task = asyncio.ensure_future(self.work)
        try:
            return (yield from asyncio.shield(self.task).__await__())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise TaskError(error) from None

    async def __aiter__(self):
        if self.raised:
            raise self.raised
        try:
            async for piece in self.work:
                yield piece
        except Exception as error:
            raise TaskError(error) from None

    def cancel(self):
        self.cancelled = True
        if self.task:
            self.task.cancel()


class Handle:
    """A handle on one replica in this process. failing: what the next calls raise before they arrive."""

    def __init__(self, replica):
        self.replica, self.asked, self.responses, self.failing = replica, [], [], []

    def options(self, *, method_name, multiplexed_model_id, stream=False):
        self.asked.append((method_name, multiplexed_model_id))

        def remote(*given):
            raised = self.failing.pop(0) if self.failing else None
            self.responses.append(Response(None if raised else getattr(self.replica, method_name)(*given), raised))
            return self.responses[-1]

        return type("To", (), {"remote": staticmethod(remote)})


@pytest.fixture
def house(house):
    """A house whose door asks a replica; what Ray would remember is kept in `read`."""
    from rootstock.serving.app import front
    from rootstock.serving.door import Rules

    def make():
        made = house()
        made.read, names = [], list(made.engine.held)

        def routed(read, most):
            async def remembered(name):
                if name not in made.read:
                    made.read.append(await read(name))
                return name

            assert most == 128
            return remembered

        infos = made.engine.models()
        made.engine.load = lambda name, folder: made.engine.held[name]
        made.handle = Handle(Replica(lambda: made.engine, {name: Path(name) for name in names}, routed))
        made.journal.close()
        made.journal = Journal(made.lines)
        made.front = front(RemoteEngine(made.handle, infos, FAILURES), Rules(), made.journal)
        return made

    return make


ASKED = {
    "predict": ("/v1/models/reviews:predict", {"inputs": ["a", ["b", "c"]]}, "reviews"),
    "embed": ("/v1/embeddings", {"model": "vectors", "input": ["ab"]}, "vectors"),
    "stream": ("/v1/completions", {"model": "writer", "prompt": "one two"}, "writer"),
}


@pytest.mark.parametrize("method", sorted(ASKED))
def test_the_answers_are_those_of_one_engine_and_go_by_the_models_name(house, method, request):
    path, body, name = ASKED[method]
    remote, own = house(), FakeEngine()
    told = [remote.ask("POST", path, json=body) for _ in range(2)]
    assert [each.status_code for each in told] == [200, 200]
    assert remote.handle.asked == [(method, name)] * 2
    assert remote.read == [name]
    if method == "predict":
        assert told[0].json()["predictions"] == asyncio.run(
            own.predict(name, [{"text": "a"}, {"text": "b", "text_pair": "c"}], timeout_s=1)
        )
    if method == "embed":
        assert told[0].json()["data"][0]["embedding"] == [2, 0.25, -1]
    if method == "stream":
        assert told[0].json()["choices"][0]["text"] == "one two "
        events = remote.ask("POST", path, json=body | {"stream": True}).text
        assert (events.count('"text":"one "'), events.strip().endswith("[DONE]")) == (1, True)


def test_refusals_come_over_from_the_replica(house):
    served = house()
    assert served.predict("a", model="reviewz").json()["error"]["message"].endswith("did you mean 'reviews'?")
    assert served.handle.asked == []  # a name that is none is nobody's business
    assert (
        served.ask("POST", "/v1/models/reviews:predict", json={"inputs": ["a", {"words": ["a"]}]}).json()["error"]["param"] == "inputs[1]"
    )
    served.engine.failing = OVERLOADED
    told = served.predict("a")
    assert (told.status_code, told.headers["retry-after"]) == (429, "3")
    assert served.ask("POST", "/v1/completions", json={"model": "reviews", "prompt": "a"}).status_code == 400
    served.engine.failing = KeyError("secret")
    assert served.predict("a").status_code == 500
    assert [line["error"] for line in served.log() if line["event"] == "fault"] == ["TaskError"]


def test_what_ray_itself_says(house):
    served = house()
    served.handle.failing = [Full()]
    assert (served.predict("a").status_code, len(served.handle.asked)) == (429, 1)
    served.handle.failing = [Gone(), Gone()]
    assert (served.predict("a").status_code, len(served.handle.asked)) == (200, 4)
    served.handle.failing = [Gone(), Gone(), Gone()]
    told = served.predict("a")
    assert (told.status_code, told.json()["error"]["code"], len(served.handle.asked)) == (503, "model_unavailable", 7)
    served.handle.failing = [Gone()]
    assert served.ask("POST", "/v1/completions", json={"model": "writer", "prompt": "a"}).status_code == 503


def test_a_request_that_takes_too_long_and_one_that_nobody_waits_for(house, monkeypatch):
    monkeypatch.setattr("rootstock.serving.remote._GRACE_SECONDS", 0.0)
    served = house()
    remote = RemoteEngine(served.handle, served.engine.models(), FAILURES)

    async def work():
        served.engine.slow = asyncio.Event()
        with pytest.raises(Exception, match="no answer in"):
            await remote.predict("reviews", [{"text": "a"}], timeout_s=0.01)
        left = asyncio.ensure_future(remote.predict("reviews", [{"text": "a"}], timeout_s=60))
        while len(served.handle.responses) < 2 or not served.engine.inside:
            await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        while served.engine.inside:
            await asyncio.sleep(0)

    asyncio.run(work())
    assert [each.cancelled for each in served.handle.responses] == [True, True]
    assert served.engine.cancelled == 2
