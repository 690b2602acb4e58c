"""What all endpoints share: the body, the bounds, the wait for the engine, and answers as JSON."""

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response

from rootstock.core.errors import RootstockError, UnknownModel
from rootstock.serving.limits import Limits
from rootstock.serving.refusals import UNAVAILABLE, Turned, of_engine
from rootstock.serving.schema import Body
from rootstock.serving.visit import Visit, attended, body_of, visit_of

if TYPE_CHECKING:  # a front can be tried without torch
    from rootstock.serving.engine import Engine

B = TypeVar("B", bound=Body)
T = TypeVar("T")


class Desk:
    """Where requests meet the engine."""

    def __init__(self, engine: "Engine", limits: Limits) -> None:
        self.engine, self.limits = engine, limits

    async def read(self, request: Request, kind: type[B], path: str) -> B:
        """The body. path: the route, for log and figures."""
        visit_of(request.scope).path = path
        return await body_of(request.scope, request.receive, kind, self.limits)

    def begin(self, request: Request, model: str, rows: int, field: str) -> Visit:
        """Note what is asked for. Raises Turned where it is too much."""
        visit = visit_of(request.scope)
        visit.model, visit.rows = model, rows
        if rows > self.limits.rows:
            raise Turned(422, f"{field}: {rows:,} rows, wanted at most {self.limits.rows:,}", field=field, code="too_many_rows")
        return visit

    async def wait(self, request: Request, work: Awaitable[T], field: str) -> T:
        """What the engine answers, unless the client hangs up before. Raises Turned for what it can't answer."""
        try:
            return await attended(request.receive, _coroutine(work))
        except UnknownModel as error:
            visit_of(request.scope).model = None  # a name that somebody made up is theirs
            raise of_engine(error, field) from None
        except RootstockError as error:
            if (turned := of_engine(error, field)).code == UNAVAILABLE:
                raise
            raise turned from None


async def _coroutine(work: Awaitable[T]) -> T:
    return await work


def answer(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON; what is no number is null."""
    return Response(to_json(value, inf_nan_mode="null"), 200, headers, "application/json")
