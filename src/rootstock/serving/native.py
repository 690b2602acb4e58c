"""Models and their answers, in the server's own shapes."""

from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from rootstock.core.errors import UnknownModel
from rootstock.serving.desk import Desk, answer
from rootstock.serving.refusals import of_engine
from rootstock.serving.schema import PredictBody, plain
from rootstock.serving.told import ModelInfo
from rootstock.serving.visit import visit_of

PREDICT = "/v1/models/{name}:predict"
_BEFORE, _AFTER = PREDICT.split("{name}")


class Native:
    """since: when the server began, which OpenAI's list of models wants to have."""

    def __init__(self, desk: Desk, since: int) -> None:
        self._desk, self._since = desk, since

    async def predict(self, request: Request, name: str) -> Response:
        """Answer rows as `rootstock predict` does: a label, a number, tags, a span or a choice each, with its confidence."""
        body = await self._desk.read(request, PredictBody, PREDICT)
        self._desk.begin(request, name, len(body.inputs), "inputs")
        rows = [plain(row) for row in body.inputs]
        made = self._desk.engine.predict(name, rows, timeout_s=self._desk.limits.seconds)
        return answer({"model": name, "predictions": await self._desk.wait(request, made, "inputs")})

    def shortcut(self, scope: Scope, receive: Receive) -> Coroutine[Any, Any, Response] | None:
        """The commonest request, by its path alone; the router would find the same endpoint."""
        path = scope["path"]
        if scope["method"] != "POST" or not path.startswith(_BEFORE) or not path.endswith(_AFTER):
            return None
        name = path[len(_BEFORE) : -len(_AFTER)]
        return self.predict(Request(scope, receive), name) if name and "/" not in name else None

    async def models(self, request: Request) -> Response:
        """All models: what they learned, what their rows hold, what they can do."""
        visit_of(request.scope).path = "/v1/models"
        return answer({"object": "list", "data": [self._told(info) for info in self._desk.engine.models()]})

    async def model(self, request: Request, name: str) -> Response:
        """One model."""
        visit_of(request.scope).path = "/v1/models/{name}"
        held = {info.name: info for info in self._desk.engine.models()}
        if name not in held:
            raise of_engine(UnknownModel(name, held), "model")
        visit_of(request.scope).model = name
        return answer(self._told(held[name]))

    def _told(self, info: ModelInfo) -> dict[str, Any]:
        """OpenAI's four fields, and ours; of a base on disk only its name, for the rest of the path is nobody's business."""
        told = asdict(info) | {"base": Path(info.base).name if Path(info.base).is_absolute() else info.base}
        return {"id": told.pop("name"), "object": "model", "created": self._since, "owned_by": "rootstock", **told}
