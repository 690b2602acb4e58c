"""The HTTP side: shapes of answers, who may come in, and a 4xx with the reason for whatever is wrong."""

import asyncio
import json

import pytest
from tests.serving.fake_engine import DRAINING, LATE, OVERLOADED

from rootstock.serving.limits import Limits, Tokens, read_tokens


def error_of(response):
    """Status and OpenAI's error object."""
    return response.status_code, response.json()["error"]


def test_predictions_come_in_the_rows_order(house):
    told = house().predict("a", ["b", "c"], {"text": "d", "choices": ["x"]}).json()
    assert told["model"] == "reviews"
    assert [each["predicted"] for each in told["predictions"]] == [
        "reviews: {'text': 'a'}",
        "reviews: {'text': 'b', 'text_pair': 'c'}",
        "reviews: {'text': 'd', 'choices': ['x']}",
    ]


@pytest.mark.parametrize("name", ["reviews", "nobody", "a/b", "", "reviews:predict", "%2e"])
def test_the_way_past_the_router_is_the_same(house, name):
    short, long = house(), house()
    long.front.door.shortcut = lambda scope, receive: None
    first, second = short.predict("a", model=name), long.predict("a", model=name)
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert [line["path"] for line in short.log()] == [line["path"] for line in long.log()]


def test_the_body_as_curl_sends_it(house):
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert house().ask("POST", "/v1/models/reviews:predict", content=b'{"inputs": ["a"]}', headers=kind).status_code == 200


def test_models_tell_no_paths(house):
    served = house()
    told = served.ask("GET", "/v1/models").json()
    assert [each["id"] for each in told["data"]] == ["reviews", "vectors", "writer"]
    assert told["data"][0] == served.ask("GET", "/v1/models/reviews").json()
    assert told["data"][0]["base"] == "base"


@pytest.mark.parametrize("path", ["/v1/models/reviewz", "/v1/models/reviewz:predict", "/v1/completions"])
def test_an_unknown_model_gets_the_nearest_name(house, path):
    method = "GET" if path.endswith("reviewz") else "POST"
    content = {"/v1/completions": b'{"model": "reviewz", "prompt": "a"}'}.get(path, b'{"inputs": ["a"]}')
    served = house()
    status, error = error_of(served.ask(method, path, content=content if method == "POST" else None))
    assert (status, error["code"]) == (404, "model_not_found")
    assert "did you mean 'reviews'?" in error["message"]
    assert "reviewz" not in json.dumps(served.log()[-1])


WRONG = {
    "no JSON": (b"{", 400, None),
    "not closed": (b'{"inputs": ["a"', 400, None),
    "NaN": (b"NaN", 422, None),
    "empty": (b"", 400, None),
    "bad UTF-8": (b'{"inputs": ["\xff"]}', 400, None),
    "half a pair of surrogates": (b'{"inputs": ["\\ud800"]}', 400, None),
    "deep": (b"[" * 100_000, 400, None),
    "deep inside": (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, None),
    "long number": (b'{"inputs": [1' + b"0" * 5000 + b"]}", 400, None),
    "a list": (b"[]", 422, None),
    "no inputs": (b"{}", 422, "inputs"),
    "a text": (b'{"inputs": "a"}', 422, "inputs"),
    "no rows": (b'{"inputs": []}', 422, "inputs"),
    "a number": (b'{"inputs": ["a", 3]}', 422, "inputs[1]"),
    "null": (b'{"inputs": [null]}', 422, "inputs[0]"),
    "three texts": (b'{"inputs": [["a", "b", "c"]]}', 422, "inputs[0]"),
    "a column of numbers": (b'{"inputs": [{"text": 3}]}', 422, "inputs[0].text"),
    "an unknown column": (b'{"inputs": [{"tekst": "a"}]}', 422, "inputs[0].tekst"),
    "an unknown field": (b'{"inputs": ["a"], "more": 1}', 422, "more"),
    "a row without text": (b'{"inputs": ["a", {"words": ["a"]}]}', 422, "inputs[1]"),
    "many rows": (json.dumps({"inputs": ["a"] * 257}).encode(), 422, "inputs"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_body_is_told_by_its_field(house, name):
    content, status, field = WRONG[name]
    found, error = error_of(house().ask("POST", "/v1/models/reviews:predict", content=content))
    assert (found, error["param"]) == (status, field), error
    assert error["type"] == "invalid_request_error"


HEADS = {
    "kind": ({"Content-Type": "text/plain"}, 415),
    "compressed": ({"Content-Encoding": "gzip"}, 415),
    "length": ({"Content-Length": "ten"}, 400),
    "a length without an end": ({"Content-Length": "9" * 5000}, 413),
    "another page": ({"Origin": "https://elsewhere.example"}, 403),
    "no page at all": ({"Origin": "null"}, 403),
    "own page": ({"Origin": "http://localhost"}, 200),
    "another name": ({"Host": "elsewhere.example"}, 403),
}


@pytest.mark.parametrize("name", sorted(HEADS))
def test_heads_that_are_turned_away(house, name):
    headers, status = HEADS[name]
    served = house(hosts=frozenset({"localhost", "127.0.0.1", "[::1]"}))
    assert served.predict("a", headers=headers).status_code == status


def test_a_header_that_comes_twice(house):
    twice = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    assert error_of(house().predict("a", headers=twice))[0] == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "HEAD", "BREW"])
def test_other_methods(house, method):
    response = house().ask(method, "/v1/models/reviews:predict")
    assert response.status_code in (404, 405)
    assert error_of(house().ask("GET", "/../etc/passwd"))[0] == 404
    assert error_of(house().ask("GET", "/v1/models/"))[0] == 404


def test_a_body_is_read_little_further_than_its_limit(house):
    sent = 0

    async def parts():
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b"x" * 1000

    response = house(limits=Limits(body_bytes=5000)).ask("POST", "/v1/models/reviews:predict", content=parts())
    assert error_of(response)[0] == 413
    assert sent <= 23_000


def test_a_body_that_does_not_come(house):
    async def parts():
        yield b"{"
        await asyncio.sleep(60)

    response = house(limits=Limits(body_seconds=0.02)).ask("POST", "/v1/models/reviews:predict", content=parts())
    assert error_of(response)[0] == 408


FAILING = {
    "overloaded": (OVERLOADED, 429, "3"),
    "draining": (DRAINING, 503, "1"),
    "late": (LATE, 504, None),
    "fault": (KeyError("secret"), 500, None),
}


@pytest.mark.parametrize("name", sorted(FAILING))
def test_what_the_engine_raises(house, name):
    failure, status, after = FAILING[name]
    served = house()
    served.engine.failing = failure
    response = served.predict("a")
    assert (error_of(response)[0], response.headers.get("retry-after")) == (status, after)
    assert "secret" not in response.text
    log = served.log()
    assert [line["event"] for line in log] == (["fault", "request"] if name == "fault" else ["request"])
    assert log[-1]["id"] == response.headers["x-request-id"]


def test_tokens(house, tmp_path):
    path = tmp_path / "tokens.txt"
    path.write_text("# two\nalice: 0123456789abcdef\nsha256:" + "0" * 64 + "\n")
    served = house(tokens=read_tokens(path))
    assert error_of(served.predict("a"))[0] == 401
    assert error_of(served.predict("a", headers={"Authorization": "Bearer 0123456789abcdeX"}))[0] == 401
    assert error_of(served.predict("a", headers={"Authorization": "Basic 0123456789abcdef"}))[0] == 401
    assert served.ask("GET", "/metrics").status_code == 401
    assert served.ask("GET", "/healthz").status_code == 200
    good = served.predict("something told in confidence", headers={"Authorization": "Bearer 0123456789abcdef"})
    assert good.status_code == 200
    log = served.log()
    assert log[-1] | {"time": "", "id": "", "ms": 0} == {
        **{"time": "", "event": "request", "id": "", "method": "POST", "path": "/v1/models/{name}:predict", "model": "reviews"},
        **{"token": "alice", "rows": 1, "status": 200, "ms": 0},
    }
    assert "0123456789abcde" not in json.dumps(log)
    assert "confidence" not in json.dumps(log)


def test_every_token_is_compared(monkeypatch):
    compared = []
    monkeypatch.setattr("rootstock.serving.limits.hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    Tokens({b"1": "a", b"2": "b", b"3": "c"}).name_of(b"x")
    assert compared == [b"1", b"2", b"3"]


def test_a_rate_for_each_token(house, tmp_path):
    path = tmp_path / "tokens.txt"
    path.write_text("a: aaaaaaaaaaaaaaaa\nb: bbbbbbbbbbbbbbbb\n")
    served = house(tokens=read_tokens(path), limits=Limits(rate=2))
    asked = [served.predict("x", headers={"Authorization": f"Bearer {who * 16}"}) for who in "aaab"]
    assert [each.status_code for each in asked] == [200, 200, 429, 200]
    assert 28 <= int(asked[2].headers["retry-after"]) <= 30
    assert served.ask("GET", "/healthz").status_code == 200


def test_too_many_at_once(house):
    served = house(limits=Limits(requests=1))

    async def work(client):
        served.engine.slow = asyncio.Event()
        first = asyncio.ensure_future(client.post("/v1/models/reviews:predict", json={"inputs": ["a"]}))
        while not served.engine.inside:
            await asyncio.sleep(0)
        second = await client.post("/v1/models/reviews:predict", json={"inputs": ["a"]})
        served.engine.slow.set()
        return await first, second

    first, second = served.run(work)
    assert (first.status_code, second.status_code, second.headers["retry-after"]) == (200, 429, "1")


def test_draining_answers_what_is_inside_and_nothing_more(house):
    served = house()

    async def work(client):
        served.engine.slow = asyncio.Event()
        first = asyncio.ensure_future(client.post("/v1/models/reviews:predict", json={"inputs": ["a"]}))
        while not served.engine.inside:
            await asyncio.sleep(0)
        drained = asyncio.ensure_future(served.front.door.drain())
        await asyncio.sleep(0)
        second, ready, alive = [await client.request(*asked) for asked in (("GET", "/v1/models"), ("GET", "/readyz"), ("GET", "/healthz"))]
        assert not drained.done()
        served.engine.slow.set()
        response = await first
        await drained
        return response, second, ready, alive

    response, second, ready, alive = served.run(work)
    assert [each.status_code for each in (response, second, ready, alive)] == [200, 503, 503, 200]
    assert second.headers["connection"] == "close"


def test_a_client_that_hangs_up_cancels_its_rows(house):
    served = house()

    async def go():
        served.engine.slow = asyncio.Event()
        messages = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b'{"inputs": ["a"]}'})
        head = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/models/reviews:predict", "headers": head, "query_string": b""}
        sent = []

        async def send(message):
            sent.append(message)

        asked = asyncio.ensure_future(served.front.app(scope, messages.get, send))
        while not served.engine.inside:
            await asyncio.sleep(0)
        messages.put_nowait({"type": "http.disconnect"})
        await asked

    asyncio.run(go())
    assert (served.engine.inside, served.engine.cancelled) == (0, 1)
    assert served.log()[-1]["status"] == 499


def test_pages_of_other_origins(house):
    served = house(origins=("https://app.example",))
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked = served.ask("OPTIONS", "/v1/models/reviews:predict", headers=preflight)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "https://app.example")
    answered = served.predict("a", headers={"Origin": "https://app.example"})
    assert (answered.status_code, answered.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert served.predict("a", headers={"Origin": "https://elsewhere.example"}).status_code == 403


def test_figures(house):
    served = house()
    served.predict("a")
    served.ask("GET", "/no/such/path")
    page = served.ask("GET", "/metrics").text
    assert 'rootstock_requests_total{route="/v1/models/{name}:predict",status="200"} 1.0' in page
    assert 'rootstock_requests_total{route="other",status="404"} 1.0' in page
    assert "rootstock_engine_queue_rows 3.0" in page
    assert 'rootstock_engine_seconds_total{of="compute"} 0.5' in page


def test_the_page_loads_nothing_from_elsewhere(house):
    served = house()
    page = served.ask("GET", "/docs")
    described = served.ask("GET", "/openapi.json").json()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("http://", "")
    assert "http://" not in page.text
    assert all(path.replace("{", "{").split("{")[0] in page.text for path in described["paths"])
    used = {each.rsplit("/", 1)[1] for each in set(__import__("re").findall(r'"\$ref": ?"([^"]+)"', json.dumps(described)))}
    assert used <= set(described["components"]["schemas"])


@pytest.mark.parametrize("line", ["sh0rt", "two words aaaaaaaaaaaaaaaaaaa", "a: 0123456789abcdef\na: fedcba9876543210", "sha256:00", ""])
def test_files_of_tokens_that_are_wrong(tmp_path, line):
    path = tmp_path / "tokens.txt"
    path.write_text(line)
    with pytest.raises(Exception, match=r"tokens.txt") as raised:
        read_tokens(path)
    assert raised.type.__name__ == "UsageError"
    assert not line or line.split()[-1] not in str(raised.value)
