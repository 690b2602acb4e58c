"""Who may ask the studio: a browser on this machine that was given the address which the start printed, and no page of anybody else.

- Host: a page elsewhere can have its own name lead to 127.0.0.1 (DNS rebinding); its requests then carry that name, and are refused.
- Token: other people on the machine can reach the port; without the token, of the first address, kept by a cookie, they get nothing.
- Origin: what changes or computes something comes from the studio's own page only, and as JSON, which no form of another page can send.
- The policy (CSP) lets the page load nothing but its own files, and talk to nobody but the studio.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 256 << 10
"""Of a request's body."""
_PAGE = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "frame-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
_REPORT = {
    "sandbox": "allow-scripts allow-modals",
    "default-src": "'none'",
    "script-src": "'unsafe-inline'",
    "style-src": "'unsafe-inline'",
    "img-src": "data: blob:",
    "frame-ancestors": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
"""A report's scripts stand in it. It runs them cut off: with an origin of its own, asking nobody for anything."""


def report_policy() -> dict[str, str]:
    """Headers of a report that a run left: it came with the run, perhaps from elsewhere."""
    return {"content-security-policy": _spelled(_REPORT)}


def _spelled(policy: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in policy.items())


_ALWAYS = {
    "content-security-policy": _spelled(_PAGE),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass
class Guard:
    """Stands before the studio. port: that it listens on."""

    app: ASGIApp
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def address(self) -> str:
        """What a person opens."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """Cookies are a host's, whatever the port: two studios keep theirs apart by the name."""
        return f"rootstock-studio-{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._answer(scope)
        await (refused or self.app)(scope, receive, sending)

    def _answer(self, scope: Scope) -> Response | None:
        """A refusal, or the way in for who brings the token; None where the request may pass."""
        headers = Headers(scope=scope)
        if headers.get("host", "") not in self._hosts or len(headers.getlist("host")) != 1:
            return _no("this address is not the studio's: open the one that `rootstock studio` printed")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and given and self._right(given):
            inside = RedirectResponse("/", status_code=303)
            inside.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
            return inside
        if not self._right(self._kept(headers)):
            return _no("open the address that `rootstock studio` printed: it holds the token of this start")
        if scope["method"] not in ("GET", "HEAD"):
            return self._from_elsewhere(headers)
        return None

    def _from_elsewhere(self, headers: Headers) -> Response | None:
        if headers.get("origin") not in {f"http://{host}" for host in self._hosts}:
            return _no("this can only be asked by the studio's own page")
        if headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return PlainTextResponse("wanted: application/json", status_code=415)
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or "transfer-encoding" in headers:
            return PlainTextResponse("wanted: Content-Length", status_code=411)
        return PlainTextResponse("the text is too long", status_code=413) if int(length[:12]) > MOST_BYTES else None

    @property
    def _hosts(self) -> frozenset[str]:
        return frozenset(f"{name}:{self.port}" for name in ("127.0.0.1", "localhost"))

    def _kept(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())


def _no(why: str) -> Response:
    return PlainTextResponse(f"refused: {why}\n", status_code=403)
