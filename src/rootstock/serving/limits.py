"""How much one request, and one token, may ask for; and who may ask at all."""

import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rootstock.core.errors import UsageError

_SHORTEST = 16
_REMEMBERED = 10_000
_LINE = re.compile(r"(?:(?P<name>[\w.-]+):\s*)?(?:sha256:(?P<digest>[0-9a-f]{64})|(?P<token>[!-~]+))")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one server takes. Raises UsageError for a limit that lets nothing through.

    body_bytes, rows, tokens: of one request. requests: being answered at once. rate: requests a minute for each token, None for no limit.
    seconds: until an answer is there; body_seconds: until a body has arrived.
    """

    body_bytes: int = 1_000_000
    rows: int = 256
    tokens: int = 1024
    requests: int = 512
    rate: int | None = None
    seconds: float = 60.0
    body_seconds: float = 20.0

    def __post_init__(self) -> None:
        options = {"max-body": self.body_bytes, "max-rows": self.rows, "max-tokens": self.tokens, "rate": self.rate}
        for option, value in options.items():
            if value is not None and value <= 0:
                raise UsageError(f"--{option} is {value:g}", wanted="more than 0")


class Tokens:
    """Who may ask: names by the sha256 of their token. The tokens themselves are not kept."""

    def __init__(self, digests: dict[bytes, str]) -> None:
        self._digests = digests

    def name_of(self, token: bytes) -> str | None:
        """Whose token it is; None for nobody's. Every known one is compared, each in a time that tells nothing of it."""
        given, found = hashlib.sha256(token).digest(), None
        for digest, name in self._digests.items():
            found = name if hmac.compare_digest(given, digest) else found
        return found


def read_tokens(path: Path) -> Tokens:
    """The tokens of a file: a line each, `TOKEN`, `NAME: TOKEN` or `NAME: sha256:DIGEST`; # begins a comment.

    Raises UsageError, with the line's number and never its content, where a line is none of these, too short, or comes twice.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file of tokens {path} can't be read: {error}", wanted="a text file, a token a line") from None
    digests: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        if not (text := line.partition("#")[0].strip()):
            continue
        name, digest = _token(text, f"{path}, line {number}")
        if digest in digests or name in digests.values():
            raise UsageError(f"{path}, line {number}: the token or its name was there before", wanted="each once")
        digests[digest] = name or f"line-{number}"
    if not digests:
        raise UsageError(f"{path} holds no token", wanted="a token a line", fix=f"openssl rand -hex 32 > {path}")
    return Tokens(digests)


def _token(text: str, where: str) -> tuple[str | None, bytes]:
    found = _LINE.fullmatch(text)
    if found is None:
        raise UsageError(f"{where}: no token", wanted="TOKEN, NAME: TOKEN or NAME: sha256:DIGEST, without spaces inside")
    if found["digest"]:
        return found["name"], bytes.fromhex(found["digest"])
    if len(found["token"]) < _SHORTEST:
        raise UsageError(f"{where}: the token is short", wanted=f"{_SHORTEST} characters or more", fix="openssl rand -hex 32")
    return found["name"], hashlib.sha256(found["token"].encode()).digest()


class Rates:
    """Requests a minute for each asker: a bucket that refills steadily and holds one minute's worth."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = float(per_minute), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, who: str) -> float:
        """Seconds until `who` may ask; 0 where it may now, which is counted."""
        now = self._clock()
        left, at = self._buckets.pop(who, (self._most, now))
        left = min(self._most, left + (now - at) * self._most / 60)
        allowed = left >= 1
        self._buckets[who] = (left - allowed, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) * 60 / self._most
