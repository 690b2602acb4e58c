"""OpenAI's own client against the server: its shapes, its streams, its errors."""

# ruff: noqa: E402  (a package that may be missing comes first)

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

openai = pytest.importorskip("openai", reason="needs the package openai")
import httpx

from rootstock.serving.told import Piece

MODEL = "writer"
ASKED = [
    {"role": "developer", "content": "be short"},
    {"role": "user", "content": [{"type": "text", "text": "one two three"}]},
]


@pytest.fixture
def client(house):
    served = house()

    @asynccontextmanager
    async def opened():
        transport = httpx.ASGITransport(served.front.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport) as inner:
            yield openai.AsyncOpenAI(api_key="none", base_url="http://localhost/v1", http_client=inner, max_retries=0)

    def run(work):
        async def go():
            async with opened() as made:
                return await work(made)

        return asyncio.run(go())

    run.house = served
    return run


def test_models(client):
    async def work(made):
        return [each.id async for each in made.models.list()], await made.models.retrieve("writer")

    names, one = client(work)
    assert names == ["reviews", "vectors", "writer"]
    assert (one.object, one.owned_by) == ("model", "rootstock")


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_embeddings(client, form):
    more = {"encoding_format": form} if form else {}
    made = client(lambda made: made.embeddings.create(model="vectors", input=["abcd", "ab"], **more))
    found = [each.embedding for each in made.data]
    if form == "base64":
        assert [len(each) for each in found] == [16, 16]
    else:
        assert found == [[4.0, 0.25, -1.0], [2.0, 0.25, -1.0]]
    assert [each.index for each in made.data] == [0, 1]
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (6, 6)


def test_a_conversation(client):
    told = client(lambda made: made.chat.completions.create(model=MODEL, messages=ASKED, temperature=0, stop=["!"], seed=5))
    assert told.choices[0].message.content == "one two three "
    assert (told.choices[0].finish_reason, told.object) == ("stop", "chat.completion")
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total_tokens) == (3, 3, 6)
    prompt, how = client.house.engine.writings[0]
    assert prompt == [{"role": "system", "content": "be short"}, {"role": "user", "content": "one two three"}]
    assert (how.temperature, how.stop, how.seed, how.max_tokens) == (0, ("!",), 5, 1024)


def test_a_conversation_in_pieces(client):
    async def work(made):
        stream = await made.chat.completions.create(model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True})
        return [piece async for piece in stream]

    pieces = client(work)
    assert [piece.choices[0].delta.content for piece in pieces[:-1]] == ["one ", "two ", "three ", ""]
    assert [piece.choices[0].delta.role for piece in pieces[:-1]] == ["assistant", None, None, None]
    assert pieces[-2].choices[0].finish_reason == "stop"
    assert (pieces[-1].choices, pieces[-1].usage.total_tokens) == ([], 6)
    assert len({piece.id for piece in pieces}) == 1
    assert {piece.object for piece in pieces} == {"chat.completion.chunk"}


def test_completions(client):
    told = client(lambda made: made.completions.create(model=MODEL, prompt=["a b", "c"], max_tokens=3))
    assert [(each.index, each.text) for each in told.choices] == [(0, "a b "), (1, "c ")]
    assert told.usage.completion_tokens == 3

    async def work(made):
        return [piece.choices[0].text async for piece in await made.completions.create(model=MODEL, prompt="a b", stream=True)]

    assert client(work) == ["a ", "b ", ""]


def test_several_texts_for_a_prompt(client):
    told = client(lambda made: made.completions.create(model=MODEL, prompt=["a b", "c"], n=2, seed=5))
    assert [(each.index, each.text) for each in told.choices] == [(0, "a b "), (1, "a b "), (2, "c "), (3, "c ")]
    assert [how.seed for _, how in client.house.engine.writings] == [5, 6, 5, 6]
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (3, 6)

    async def work(made):
        more = {"stream": True, "n": 2, "stream_options": {"include_usage": True}}
        return [piece async for piece in await made.chat.completions.create(model=MODEL, messages=ASKED, **more)]

    pieces = client(work)
    texts, roles = ["", ""], [[], []]
    for choice in (piece.choices[0] for piece in pieces[:-1]):
        texts[choice.index] += choice.delta.content
        roles[choice.index].append(choice.delta.role)
    assert texts == ["one two three "] * 2
    assert roles == [["assistant", None, None, None]] * 2
    assert (pieces[-1].usage.prompt_tokens, pieces[-1].usage.completion_tokens) == (3, 6)
    assert client.house.engine.closed_streams == 6


def test_errors_are_those_that_the_client_knows(client):
    async def work(made):
        with pytest.raises(openai.NotFoundError, match="did you mean 'writer'"):
            await made.chat.completions.create(model="writers", messages=ASKED)
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            await made.chat.completions.create(model=MODEL, messages=ASKED, logprobs=True)
        assert raised.value.param == "logprobs"
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            await made.chat.completions.create(model=MODEL, messages=ASKED, n=300)
        assert raised.value.param == "n"
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            await made.completions.create(model=MODEL, prompt="a", max_tokens=5000)
        assert raised.value.param == "max_tokens"
        with pytest.raises(openai.BadRequestError, match="reviews does not embed"):
            await made.embeddings.create(model="reviews", input="a")

    client(work)


def raw(served, content, leave_after=None):
    """The messages that the server sends, to a client that may hang up."""

    async def go():
        messages = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": json.dumps(content).encode()})
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [(b"host", b"localhost")], "query_string": b""}
        sent = []

        async def send(message):
            sent.append(message)
            if len(sent) == leave_after:
                messages.put_nowait({"type": "http.disconnect"})

        await served.front.app(scope, messages.get, send)
        return sent

    return asyncio.run(go())


def test_a_stream_whose_reader_leaves(client):
    sent = raw(client.house, {"model": MODEL, "prompt": " ".join(["word"] * 10_000), "stream": True}, leave_after=5)
    assert 5 <= len(sent) < 100
    assert client.house.engine.closed_streams == 1


def test_a_fault_in_the_middle_of_a_stream_breaks_it_off(client, monkeypatch):
    async def broken(self, name, prompt, how):
        yield Piece(text="a")
        raise KeyError("secret")

    monkeypatch.setattr(type(client.house.engine), "stream", broken)
    sent = raw(client.house, {"model": MODEL, "prompt": "a", "stream": True})
    assert [message.get("more_body") for message in sent] == [None, True]
    log = client.house.log()
    assert [line["event"] for line in log] == ["fault", "request"]
    assert "secret" not in json.dumps(log)
