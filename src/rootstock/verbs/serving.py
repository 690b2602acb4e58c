"""The verb serve: finished runs answered over HTTP, each past the gate before a byte of its weights is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rootstock.core import resources
from rootstock.core.errors import GateRefused, UnknownName, UsageError, nearest
from rootstock.core.modules import needed
from rootstock.core.sizes import in_bytes
from rootstock.core.watch import Say
from rootstock.run import served
from rootstock.run.prepared import device_name
from rootstock.sentinel.provenance.checker import ModelProvenanceChecker
from rootstock.serving.engine import Engine
from rootstock.serving.limits import Limits, Tokens, read_tokens
from rootstock.serving.settings import EngineSettings

_LOCAL = frozenset(("localhost", "127.0.0.1", "[::1]"))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be served, where, and to whom. runs: folders, or NAME=FOLDER. models: a folder of runs; watch: it is looked at again."""

    runs: Sequence[str] = ()
    models: Path | None = None
    watch: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    signed: bool = False
    trust: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    engine: EngineSettings = field(default_factory=EngineSettings)

    def check(self) -> None:
        """Raises UsageError for what makes no sense together."""
        if not self.runs and self.models is None:
            raise UsageError("there is nothing to serve", wanted="run folders, or --models DIR", fix="rootstock serve runs/reviews")
        if self.watch and self.models is None:
            raise UsageError("found --watch without --models", wanted="a folder to watch", fix="give --models DIR")
        if self.models is not None and not self.models.is_dir():
            raise UsageError(f"there is no folder {self.models}", wanted="a folder of runs", fix="make it, or check the path")
        if self.trust is not None and not self.signed:
            raise UsageError("found --trust without --require-signature", fix="leave one out, or give both")
        for origin in self.origins:
            if "://" not in origin or origin.endswith("/") or "*" in origin:
                raise UsageError(f"--cors-origin {origin}", wanted="scheme and host of a page, such as https://app.example.com")


def size(text: str) -> int:
    """Bytes from a number with a unit, such as 1MB, as everywhere else in powers of ten. Raises UsageError."""
    try:
        return in_bytes(text)
    except ValueError:
        raise UsageError(f"--max-body {text}", wanted="a size such as 1MB") from None


def engine_settings(values: Mapping[str, Any]) -> EngineSettings:
    """Settings of an engine by their names. Raises UnknownName, and UsageError for a value that won't do."""
    known = {each.name: type(each.default) for each in fields(EngineSettings)}
    for name, value in values.items():
        if name not in known:
            raise UnknownName("setting of the engine", name, known)
        if isinstance(value, bool) or not isinstance(value, (int, float) if known[name] is float else known[name]):
            raise UsageError(f"{name} is {value!r}", wanted="a word" if known[name] is str else "a number")
    return EngineSettings(**values)


def serve(asked: Asked, say: Say) -> None:
    """Serve until told to stop. Raises UsageError or Refused for whatever can't be served, before anything is."""
    for module in ("fastapi", "httptools", "prometheus_client", "uvicorn"):
        needed(module, "rootstock serve", extra="serve")
    from rootstock.serving.journal import Journal
    from rootstock.serving.process import Place
    from rootstock.serving.process import serve as live

    asked.check()
    named = named_folders(asked.runs)
    place = Place(host=asked.host, port=asked.port, certificate=asked.certificate, key=asked.key)
    place.check()
    tokens = read_tokens(asked.token_file) if asked.token_file else None
    opener = Opener(ModelProvenanceChecker(trust_store=asked.trust) if asked.signed else None)
    taken = place.bound()
    engine = Engine(asked.engine, opener, device=device_name())
    journal = Journal()
    try:
        say(f"numbers   {engine.format.said}")
        shelf = _filled(engine, asked, named=named, journal=journal, say=say)
        _warn(place, tokens, say)

        def begun() -> None:
            say(f"serving   {len(engine.models()):,} models at {place.url(taken)}  (/docs explains the paths; Ctrl-C ends)")
            journal.note("serving", models=len(engine.models()))

        life = _life(begun, engine, shelf if asked.watch else None)
        live(_front(asked, engine, tokens, place, journal), place, taken, journal, life)
        journal.note("ended")
    finally:
        taken.close()
        engine.close()
        journal.close()


def _filled(engine: Engine, asked: Asked, *, named: Mapping[str, Path], journal: Any, say: Say) -> Any:
    """Read what is to be served; what keeps --models in step with its folder comes back. UsageError where there is nothing."""
    from rootstock.serving.watched import Watched

    for name, folder in named.items():
        info = engine.load(name, folder)
        say(f"loaded    {name}  {info.task or 'base'}  {info.method}  on {info.base}  {info.precision}")
    shelf = Watched(asked.models, engine, journal, taken=named) if asked.models else None
    if shelf:
        shelf.look()
    if not engine.models() and not asked.watch:
        raise UsageError(f"{asked.models} holds no run that can be served", wanted="finished runs", fix="--watch waits for the first")
    if len(named) <= asked.engine.max_loaded:  # else some of them go back to disk
        resources.settle()
    return shelf


def _front(asked: Asked, engine: Engine, tokens: Tokens | None, place: Any, journal: Any) -> Any:
    from rootstock.serving.app import front

    return front(engine, rules(asked, tokens, place), journal)


def rules(asked: Asked, tokens: Tokens | None, place: Any) -> Any:
    """Who may come in. Without tokens a server of this machine only goes by its names."""
    from rootstock.serving.door import Rules

    hosts = _LOCAL | {place.host} if place.local and tokens is None else None
    return Rules(limits=asked.limits, tokens=tokens, hosts=hosts, origins=asked.origins)


def _life(begun: Callable[[], None], engine: Engine, shelf: Any) -> Any:
    from rootstock.serving.process import Life

    return Life(begun=begun, drain=engine.drain, beside=shelf.keep if shelf else None)


class Opener:
    """Opens folders as runs; where signatures are asked for, only those that somebody in the trust store has signed, each time anew."""

    def __init__(self, checker: ModelProvenanceChecker | None) -> None:
        self._checker = checker

    def __call__(self, folder: Path) -> Any:
        """Raises GateRefused for a folder without a signature that holds."""
        if self._checker is not None:
            found = self._checker.verify(folder, check_signature=True)
            if not found.verified:
                what = found.issues[0] if found.issues else "nothing proves who made it"
                raise GateRefused(f"{folder}: {what}", wanted="a signature of somebody in the trust store", fix="rootstock sign")
        return served.opened(folder)


def named_folders(runs: Sequence[str]) -> dict[str, Path]:
    """Folders by the names that they are served under. Raises UsageError for a name that won't do, or comes twice."""
    from rootstock.serving.watched import NAME

    found: dict[str, Path] = {}
    for each in runs:
        given, equals, rest = each.partition("=")
        folder = Path(rest) if equals and not Path(each).exists() else Path(each)
        name = given if folder != Path(each) else folder.resolve().name
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} can't be the name of a model", wanted="letters, digits, . _ -", fix=f"name it: NAME={folder}")
        _check_there(folder)
        if name in found:
            raise UsageError(f"two models are called {name}", wanted="a name each", fix=f"name one: OTHER={folder}")
        found[name] = folder
    return found


def _check_there(folder: Path) -> None:
    """Raises UsageError for what is plainly the path of a folder, and no base's name, where there is none."""
    beside = folder.parent.is_dir() and len(folder.parts) > 1
    if folder.exists() or not (beside or folder.is_absolute()):
        return
    near = nearest(folder.name, (each.name for each in folder.parent.iterdir())) if beside else None
    fix = f"did you mean {folder.parent / near}?" if near else "check the path"
    raise UsageError(f"there is no folder {folder}", wanted="a run's folder", fix=fix)


def _warn(place: Any, tokens: Tokens | None, say: Say) -> None:
    if place.local:
        return
    if tokens is None:
        say(f"note      whoever reaches {place.host} may ask: --token-file asks for a token")
    if place.certificate is None:
        say("note      texts and tokens travel unencrypted: --tls-cert and --tls-key, or a proxy before it, encrypt them")
