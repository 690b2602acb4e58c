"""What goes over the wire: JSON that every browser reads, and events of a stream."""

import json
import math
from dataclasses import asdict, is_dataclass
from typing import Any

from starlette.responses import Response

from rootstock.core.errors import RootstockError


def told(content: Any, status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(spelled(content), status, media_type="application/json")


def spelled(content: Any) -> str:
    """One line of JSON in ASCII: half a surrogate pair, as a damaged text may hold, has no UTF-8. What is no finite number is null."""
    return json.dumps(_clean(content), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def event(kind: str, content: Any) -> str:
    """A server-sent event."""
    return f"event: {kind}\ndata: {spelled(content)}\n\n"


def refusal(error: RootstockError) -> dict[str, str]:
    """An error as the page shows it."""
    return {"found": error.found, "wanted": error.wanted, "fix": error.fix}


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _clean(asdict(value))
    if isinstance(value, dict):
        return {str(key): _clean(inner) for key, inner in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list | tuple) else value
