"""Vectors, completions and conversations, in OpenAI's shapes: its clients work unchanged."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any

import numpy as np
from fastapi import Request
from starlette.responses import Response

from rootstock.serving.desk import Desk, answer
from rootstock.serving.events import Events
from rootstock.serving.refusals import Turned
from rootstock.serving.schema import ChatBody, CompletionBody, Drawn, EmbeddingsBody
from rootstock.serving.told import Piece, Writing

Prompt = str | Sequence[Mapping[str, str]]
_COMPLETION_TOKENS = 16
"""OpenAI's own default for completions."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How texts are told: of completions and of conversations, whole and in pieces."""

    whole: str
    part: str
    prefix: str
    chat: bool

    def head(self, model: str) -> dict[str, Any]:
        """What is the same in all pieces of an answer."""
        return {"id": f"{self.prefix}-{token_hex(12)}", "object": self.whole, "created": int(time.time()), "model": model}

    def choice(self, index: int, text: str, finish: str | None) -> dict[str, Any]:
        """A whole text."""
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return {"index": index, **said, "logprobs": None, "finish_reason": finish}

    def delta(self, index: int, piece: Piece, *, first: bool) -> dict[str, Any]:
        """A piece of a text."""
        if not self.chat:
            return {"index": index, "text": piece.text, "logprobs": None, "finish_reason": piece.finish}
        said = {"role": "assistant"} if first else {}
        return {"index": index, "delta": said | {"content": piece.text}, "logprobs": None, "finish_reason": piece.finish}


_COMPLETION = Shape(whole="text_completion", part="text_completion", prefix="cmpl", chat=False)
_CHAT = Shape(whole="chat.completion", part="chat.completion.chunk", prefix="chatcmpl", chat=True)


class OpenAI:
    """The three endpoints."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def embeddings(self, request: Request) -> Response:
        """Vectors of length 1, of a model that learned them or of a base."""
        body = await self._desk.read(request, EmbeddingsBody, "/v1/embeddings")
        texts = [body.input] if isinstance(body.input, str) else body.input
        self._desk.begin(request, body.model, len(texts), "input")
        made = self._desk.engine.embed(body.model, texts, timeout_s=self._desk.limits.seconds)
        vectors_NH, tokens = await self._desk.wait(request, made, "input")
        if body.dimensions not in (None, vectors_NH.shape[1]):
            raise Turned(422, f"dimensions: wanted {vectors_NH.shape[1]}, the vector's own", field="dimensions", code="dimensions")
        told = [{"object": "embedding", "index": i, "embedding": _vector(each, body.encoding_format)} for i, each in enumerate(vectors_NH)]
        return answer({"object": "list", "data": told, "model": body.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    async def completions(self, request: Request) -> Response:
        """Text that goes on from each prompt; as server-sent events where `stream` is true."""
        body = await self._desk.read(request, CompletionBody, "/v1/completions")
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        self._desk.begin(request, body.model, len(prompts) * body.n, "prompt" if len(prompts) > 1 else "n")
        how = self._writing(body, body.max_tokens or _COMPLETION_TOKENS, "max_tokens")
        return await self._write(request, body, prompts, how, _COMPLETION)

    async def chat(self, request: Request) -> Response:
        """The next turn of a conversation; as server-sent events where `stream` is true."""
        body = await self._desk.read(request, ChatBody, "/v1/chat/completions")
        self._desk.begin(request, body.model, body.n, "n")
        field = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
        most = body.max_completion_tokens or body.max_tokens or self._desk.limits.tokens
        how = self._writing(body, most, field)
        return await self._write(request, body, [[each.plain for each in body.messages]], how, _CHAT)

    def _writing(self, body: Drawn, most: int, field: str) -> Writing:
        if most > self._desk.limits.tokens:
            raise Turned(422, f"{field}: wanted at most {self._desk.limits.tokens:,}", field=field, code="too_many_tokens")
        return Writing(max_tokens=most, temperature=body.temperature, top_p=body.top_p, stop=body.stops, seed=body.seed)

    async def _write(self, request: Request, body: Drawn, prompts: Sequence[Prompt], how: Writing, shape: Shape) -> Response:
        field = "messages" if shape.chat else "prompt"
        each = [how if how.seed is None else replace(how, seed=how.seed + number) for number in range(body.n)]
        streams = [self._desk.engine.stream(body.model, prompt, one) for prompt in prompts for one in each]
        if body.stream:
            pieces = _beside(streams)
            first = await self._desk.wait(request, anext(pieces), field)
            return Events(_pieces(shape, body, first, pieces), self._desk.limits.seconds)
        written = await self._desk.wait(request, self._all(streams), field)
        choices = [shape.choice(i, text, last.finish) for i, (text, last) in enumerate(written)]
        return answer({**shape.head(body.model), "choices": choices, "usage": _usage([last for _, last in written], body.n)})

    async def _all(self, streams: list[AsyncIterator[Piece]]) -> list[tuple[str, Piece]]:
        texts = [asyncio.ensure_future(_collected(stream)) for stream in streams]
        try:
            async with asyncio.timeout(self._desk.limits.seconds):
                return await asyncio.gather(*texts)
        except TimeoutError:
            raise Turned(504, "no answer in the time that is allowed: ask for fewer tokens, or a stream", code="timed_out") from None
        finally:
            for text in texts:  # one that failed ends the others
                text.cancel()


async def _collected(pieces: AsyncIterator[Piece]) -> tuple[str, Piece]:
    """A whole text with its last piece."""
    texts, last = [], Piece(text="")
    async for last in pieces:
        texts.append(last.text)
    return "".join(texts), last


_Numbered = tuple[int, Piece]
"""A piece, and which text it is of."""


async def _beside(streams: Sequence[AsyncIterator[Piece]]) -> AsyncGenerator[_Numbered, None]:
    """The pieces of several texts as they come. The first error ends them all."""
    coming = {asyncio.ensure_future(anext(stream, None)): number for number, stream in enumerate(streams)}
    try:
        while coming:
            for came in (await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED))[0]:
                number, piece = coming.pop(came), came.result()
                if piece is not None:
                    yield number, piece
                    coming[asyncio.ensure_future(anext(streams[number], None))] = number
    finally:
        for each in coming:
            each.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        for stream in streams:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()


async def _pieces(
    shape: Shape, body: Drawn, first: _Numbered, rest: AsyncGenerator[_Numbered, None]
) -> AsyncGenerator[Mapping[str, Any], None]:
    """A stream's events, of which the last counts tokens where that was asked for."""
    head = shape.head(body.model) | {"object": shape.part}
    last = dict([first])
    async with aclosing(rest):
        yield {**head, "choices": [shape.delta(*first, first=True)]}
        async for number, piece in rest:
            begins = number not in last
            last[number] = piece
            yield {**head, "choices": [shape.delta(number, piece, first=begins)]}
    if body.usage_wanted:
        yield {**head, "choices": [], "usage": _usage([last[number] for number in sorted(last)], body.n)}


def _usage(ends: Sequence[Piece], times: int) -> dict[str, int]:
    """Tokens of texts by their last pieces. times: how many there are for each prompt, which was read once."""
    asked, written = sum(each.prompt_tokens for each in ends[::times]), sum(each.tokens for each in ends)
    return {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}


def _vector(values_H: np.ndarray, form: str) -> list[float] | str:
    return base64.b64encode(values_H.astype("<f4").tobytes()).decode() if form == "base64" else values_H.tolist()
