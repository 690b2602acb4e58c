"""Requests that are wrong in one way each, from a seed: bytes that are no HTTP, heads, paths, methods, and bodies of every path."""

import json
import random

BODIES = {
    "/v1/models/{model}:predict": {"inputs": ["a text", ["two", "texts"], {"text": "a", "text_pair": "b"}]},
    "/v1/embeddings": {"model": "{model}", "input": ["a", "b"], "encoding_format": "float"},
    "/v1/completions": {
        "model": "{model}",
        "prompt": "a",
        "max_tokens": 2,
        "temperature": 1.0,
        "top_p": 1.0,
        "stop": ["x"],
        "stream": False,
    },
    "/v1/chat/completions": {"model": "{model}", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2, "seed": 1},
}
STRANGE = (
    *(None, True, -1, 0, 1.5, 10**30, 1e308, "", "\x00", "\U0001f600" * 50, [], {}, [[]], [None], {"a": {"b": [1]}}, [1, 2]),
    *("NaN", "Infinity", "-Infinity", "1" * 5000, "1e99999", '"\\ud800"', '"\\x41"', "tru", "[" * 3000, '{"a":' * 3000, "\ufeff{}", ""),
)
"""Values in place of right ones; from "NaN" on they are pieces of JSON as they are written, which are mostly none."""
WRITTEN = STRANGE.index("NaN")


def post(path: str, body: bytes, *more: str, method: str = "POST") -> bytes:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "Connection: close", *more])
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _with(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], new)
    return copy


def body(rng: random.Random, model: str) -> bytes:
    """A body in which one value is another, one field more, or whose bytes are damaged."""
    path = rng.choice(list(BODIES))
    right = json.loads(json.dumps(BODIES[path]).replace("{model}", model))
    how, where = rng.randrange(4), path.replace("{model}", model)
    if how == 0:
        strange = rng.randrange(len(STRANGE))
        told = json.dumps(_with(right, rng.choice(list(_places(right))), "\0HERE\0" if strange >= WRITTEN else STRANGE[strange]))
        text = told.replace(json.dumps("\0HERE\0"), str(STRANGE[strange])).encode("utf-8", "surrogatepass")
    elif how == 1:
        text = json.dumps(
            right | {rng.choice(("more", "Inputs", "__proto__", "n", "logprobs", "tools", "\x00")): rng.choice(STRANGE[:WRITTEN])}
        ).encode()
    elif how == 2:
        damaged = bytearray(json.dumps(right).encode())
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        text = bytes(damaged)
    else:
        whole = json.dumps(right).encode()
        text = whole[: rng.randrange(len(whole))]
    return post(where, text)


def head(rng: random.Random, model: str) -> bytes:
    """A right body behind a wrong head."""
    where, text = f"/v1/models/{model}:predict", b'{"inputs": ["a"]}'
    choices = (
        lambda: post(where, text, method=rng.choice(("GET", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "post", "", "P\x7fST", "A" * 500))),
        lambda: post(
            rng.choice(("/", "//", "/v1", "/v1/models/", "/v1/models/%00:predict", f"/v1/models/{model}:prediqt", "/../" * 40, "*", "a b")),
            text,
        ),
        lambda: post(f"/v1/models/{rng.randbytes(6).hex()}:predict", text),
        lambda: post("/" + rng.randbytes(20).decode("latin-1"), text),
        lambda: post(where, text, f"Content-Type: {rng.choice(('text/plain', 'application/xml', 'multipart/form-data', 'x' * 300))}"),
        lambda: post(where, text, f"Content-Encoding: {rng.choice(('gzip', 'br', 'zzz'))}"),
        lambda: post(where, text, f"Origin: {rng.choice(('null', 'http://evil.example', 'x'))}"),
        lambda: post(where, text, "Content-Length: 5"),
        lambda: post(where, text, "Transfer-Encoding: chunked"),
        lambda: post(where, text, "X: " + "a" * 40_000),
        lambda: post(where, text, *[f"X-{i}: a" for i in range(4000)]),
        lambda: post(where, text, f"X{chr(rng.randrange(32))}: a"),
        lambda: post(where, b" " * (2 << 20) + text),
        lambda: post(where, text).replace(b"Host: localhost", rng.choice((b"Host: evil.example", b"Host:", b"Hostlocalhost"))),
        lambda: post(where, text).replace(b"HTTP/1.1", rng.choice((b"HTTP/9.9", b"HTTP/1.x", b"HTTQ/1.1", b""))),
        lambda: rng.randbytes(rng.randint(1, 400)),
    )
    return rng.choice(choices)()


def wrong(rng: random.Random, model: str) -> bytes:
    return (body if rng.random() < 0.7 else head)(rng, model)
