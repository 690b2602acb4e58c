"""The server's application: routes on an engine, behind the door."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from rootstock import __version__
from rootstock.core.errors import RootstockError
from rootstock.serving.desk import Desk, answer
from rootstock.serving.door import Door, Rules
from rootstock.serving.journal import Journal
from rootstock.serving.meters import CONTENT_TYPE, Meters
from rootstock.serving.native import PREDICT, Native
from rootstock.serving.openai import OpenAI
from rootstock.serving.pages import page
from rootstock.serving.refusals import Turned
from rootstock.serving.schema import Body, ChatBody, CompletionBody, EmbeddingsBody, PredictBody
from rootstock.serving.visit import visit_of

if TYPE_CHECKING:  # a front can be tried without torch
    from rootstock.serving.engine import Engine

_BODIES: tuple[type[Body], ...] = (PredictBody, EmbeddingsBody, CompletionBody, ChatBody)
_ERRORS = {
    400: "no valid JSON",
    401: "no token, or a wrong one",
    404: "no such model; the nearest name is given",
    413: "the body is too large",
    415: "the body is called something else than JSON",
    422: "a field is wrong; `param` names it",
    429: "too much at once, or too often: Retry-After says when to come back",
    503: "the server is shutting down, or the model can't be loaded",
    504: "no answer in time",
}


@dataclass(frozen=True)
class Front:
    """What is served, and the door in it, by which it is drained. door stands before all else but what origins are told."""

    app: ASGIApp
    door: Door
    described: Callable[[], dict[str, Any]]


def front(engine: "Engine", rules: Rules, journal: Journal, *, ready: Callable[[], bool] = lambda: True) -> Front:
    """The application on an engine. ready: whether all that should be served by now is."""
    no_pages: dict[str, Any] = {"openapi_url": None, "docs_url": None, "redoc_url": None, "redirect_slashes": False}
    api = FastAPI(title="rootstock serve", version=__version__, description=_DESCRIPTION, **no_pages)
    door = Door(api, rules, journal)
    meters = door.meters = Meters(engine.figures, lambda: door.busy)
    desk = Desk(engine, rules.limits)
    native, openai = Native(desk, int(time.time())), OpenAI(desk)
    door.shortcut = native.shortcut
    described = _routes(api, native, openai)

    async def healthz() -> Response:
        """Whether the process lives."""
        return answer({"status": "ok"})

    async def readyz() -> Response:
        """Whether requests are taken: 503 while models are being read for the first time, and while the server shuts down."""
        good = ready() and not door.draining
        return Response(b'{"status":"ready"}' if good else b'{"status":"not ready"}', 200 if good else 503, None, "application/json")

    async def metrics() -> Response:
        """Figures in Prometheus' text format."""
        return Response(meters.page(), headers={"Content-Type": CONTENT_TYPE})

    for path, endpoint in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
        api.add_api_route(path, endpoint, methods=["GET"], response_class=Response)

    async def told(request: Request, error: Exception) -> Response:
        return door.response(visit_of(request.scope), error)

    for kind in (Turned, RootstockError, HTTPException, Exception):
        api.add_exception_handler(kind, told)
    app = door if not rules.origins else CORSMiddleware(door, rules.origins, allow_methods=("GET", "POST"), allow_headers=("*",))
    return Front(app, door, described)


_DESCRIPTION = "Predictions, vectors and texts of the models that are served here. OpenAI's clients work unchanged."


def _routes(api: FastAPI, native: Native, openai: OpenAI) -> Callable[[], dict[str, Any]]:
    """The models' paths, and the description of all."""
    posts: tuple[tuple[str, Callable[..., Any], type[Body]], ...] = (
        (PREDICT, native.predict, PredictBody),
        ("/v1/embeddings", openai.embeddings, EmbeddingsBody),
        ("/v1/completions", openai.completions, CompletionBody),
        ("/v1/chat/completions", openai.chat, ChatBody),
    )
    for path, endpoint, body in posts:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
        extra = {"requestBody": {"required": True, "content": content}}
        api.add_api_route(path, endpoint, methods=["POST"], response_class=Response, openapi_extra=extra, responses=_responses())
    for path, listing in (("/v1/models", native.models), ("/v1/models/{name}", native.model)):
        api.add_api_route(path, listing, methods=["GET"], response_class=Response, responses=_responses(401, 404, 429))

    def described() -> dict[str, Any]:
        """The OpenAPI description."""
        found = api.openapi()
        held = found.setdefault("components", {}).setdefault("schemas", {})
        for body in _BODIES:
            schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
            held |= schema.pop("$defs", {}) | {body.__name__: schema}
        return found

    async def openapi() -> Response:
        return answer(described())

    async def docs() -> Response:
        return page(described())

    for path, shown in (("/openapi.json", openapi), ("/docs", docs)):
        api.add_api_route(path, shown, methods=["GET"], include_in_schema=False)
    return described


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": said} for status, said in _ERRORS.items() if not statuses or status in statuses}
