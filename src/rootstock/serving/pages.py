"""The page that explains the interface: made from its OpenAPI description, of one piece, and nothing is loaded from elsewhere."""

from html import escape
from typing import Any

from starlette.responses import HTMLResponse

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "h2{font-size:1.1rem;margin:2rem 0 .3rem}code,h2{font-family:ui-monospace,monospace}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-top:1px solid #8886}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def page(described: dict[str, Any]) -> HTMLResponse:
    """All paths of an OpenAPI description, with the fields that their bodies take."""
    schemas = described["components"]["schemas"]
    parts = [
        _operation(method, path, operation, schemas) for path, held in described["paths"].items() for method, operation in held.items()
    ]
    title = escape(described["info"]["title"])
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title><style>{_STYLE}</style>"
    body = f"<h1>{title}</h1><p>{escape(described['info']['description'])}</p>{''.join(parts)}<p><a href=openapi.json>openapi.json</a></p>"
    return HTMLResponse(f"<!doctype html><html lang=en>{head}<main>{body}</main></html>", headers={"Content-Security-Policy": _POLICY})


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    said = f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>"
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return said
    held = schemas[content["schema"]["$ref"].rsplit("/", 1)[1]]
    rows = [_field(name, value, name in held.get("required", ())) for name, value in held["properties"].items()]
    return f"{said}<table><tr><th scope=col>field<th scope=col>takes<th scope=col>meaning</tr>{''.join(rows)}</table>"


def _field(name: str, value: dict[str, Any], required: bool) -> str:
    default = "" if required or value.get("default") is None else f" Default: {value['default']}."
    meaning = f"{value.get('description', '')}{default}{' Required.' if required else ''}"
    return f"<tr><td><code>{escape(name)}</code><td>{escape(_kind(value))}<td>{escape(meaning)}</tr>"


def _kind(value: dict[str, Any]) -> str:
    """What a field takes, in a word or two."""
    if "$ref" in value:
        return str(value["$ref"].rsplit("/", 1)[1])
    for key in ("anyOf", "oneOf"):
        if key in value:
            return " or ".join(_kind(each) for each in value[key] if each.get("type") != "null")
    if "const" in value or "enum" in value:
        return ", ".join(map(str, value.get("enum", [value.get("const")])))
    return f"list of {_kind(value['items'])}" if value.get("type") == "array" and "items" in value else str(value.get("type", "any"))
