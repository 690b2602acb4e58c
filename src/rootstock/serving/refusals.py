"""Why a request gets no answer, as a status and OpenAI's error object; nothing else ever reaches a client."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rootstock.core.errors import Draining, Overloaded, RootstockError, RowRefused, TimedOut, UnknownModel, UsageError

UNAVAILABLE = "model_unavailable"
"""The code of an error of which the client is told nothing more: the log has it."""

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_WANTED = {
    "string_type": "a text",
    "list_type": "a list",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number that is neither NaN nor infinite",
    "bool_type": "true or false",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "missing": "a value: it is missing",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "too_long": "at most {max_length} of them",
    "too_short": "at least {min_length} of them",
    "string_too_short": "a text that is not empty",
    "string_too_long": "at most {max_length} characters",
    "literal_error": "one of {expected}",
}
"""Pydantic's kinds of errors in plain words, without the value that was given: it may be somebody's text."""


class Turned(Exception):
    """A request that gets no answer. field: of the body, where one is to blame. code: a short name for programs."""

    def __init__(
        self, status: int, message: str, *, field: str | None = None, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.field, self.code, self.headers = status, message, field, code, dict(headers or {})

    @property
    def told(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.field, "code": self.code}}

    def response(self) -> Response:
        """What the client gets."""
        return Response(to_json(self.told), self.status, self.headers, "application/json")


def busy(seconds: float, message: str, code: str) -> Turned:
    """Too much at once, or too often: come back after so many seconds."""
    return Turned(429, message, code=code, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def broken() -> Turned:
    """A fault of ours. What it was stands in the log, under the request's id."""
    return Turned(500, "the server failed to answer; its log says why, under this answer's X-Request-Id", code="internal_error")


def of_engine(error: RootstockError, field: str) -> Turned:
    """What an engine's error says to a client. field: where the body has its rows. What a folder on disk lacks is told to the log only."""
    match error:
        case UnknownModel():
            near = f"; did you mean {error.nearest!r}?" if error.nearest else ""
            turned = Turned(404, f"no model of this name is served{near}", field="model", code="model_not_found")
        case RowRefused():
            where = f"{field}[{error.index}]"
            turned = Turned(422, f"{where}: {error.why}", field=where, code="row_refused")
        case Draining():
            turned = draining()
        case Overloaded():
            turned = busy(error.retry_after, "too much is asked at the moment", "overloaded")
        case TimedOut():
            turned = Turned(504, "no answer in the time that is allowed", code="timed_out")
        case UsageError() if type(error) is UsageError:
            turned = Turned(400, error.found + (f"; wanted: {error.wanted}" if error.wanted else ""), field="model", code="wrong_model")
        case _:
            turned = Turned(503, "the model can't be served now; the server's log says why", field="model", code=UNAVAILABLE)
    return turned


def unrouted(error: HTTPException) -> Turned:
    """No such path, or another method there."""
    message = "there is nothing at this path" if error.status_code == 404 else "this path takes another method"
    return Turned(error.status_code, message, code="not_found" if error.status_code == 404 else "method", headers=error.headers)


def draining() -> Turned:
    """The server is going down: what it has accepted it answers, and nothing more is."""
    return Turned(503, "the server is shutting down", code="draining", headers={"Retry-After": "1"})


def invalid(error: ValidationError) -> Turned:
    """The first thing that is wrong with a body: 400 where it is no JSON, 422 with the field's name where a value is wrong."""
    first = error.errors(include_url=False, include_context=True, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Turned(400, f"the body is not valid JSON: {first.get('ctx', {}).get('error', 'it breaks off')}", code="invalid_json")
    field = _path(first["loc"]) or str(first.get("ctx", {}).get("field", ""))
    wanted = _said(first)
    return Turned(422, f"{field or 'the body'}: {wanted}", field=field or None, code=first["type"])


def _said(found: ErrorDetails) -> str:
    if found["type"] == "extra_forbidden":
        return "there is no such field"
    said = _WANTED.get(found["type"])
    return f"wanted {said.format(**found.get('ctx', {}))}" if said else found["msg"]


def _path(location: Sequence[int | str]) -> str:
    """inputs[3].text, from pydantic's location without the marks of unions. A name from the body itself is shortened."""
    named = [part for part in location if isinstance(part, int) or part[:1] != "<"]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:60]}" for part in named)
    return text.removeprefix(".")
