"""The studio's pages: static files, lists and facts as JSON, one stream of events, and answers of models."""

import json
import threading
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from rootstock.core.errors import RootstockError, UsageError
from rootstock.core.runfolder import SCANS
from rootstock.sentinel.scanner import scan
from rootstock.serving.studio import live
from rootstock.serving.studio.bench import Bench, Plain
from rootstock.serving.studio.guard import report_policy
from rootstock.serving.studio.index import Index
from rootstock.serving.studio.summary import read, words
from rootstock.serving.studio.wire import event, refusal, told

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {each.name: each.read_bytes() for each in (resources.files("rootstock.serving.studio") / "page").iterdir()}
_CHECKS = (*SCANS, "probes")
"""What other checks leave in a run's folder: a .json each, and mostly a page."""


@dataclass
class Studio:
    """The runs, and what opens them. One model computes at a time: two would share the same cores."""

    index: Index
    bench: Bench
    ending: Callable[[], bool] = lambda: False
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def app(self) -> Starlette:
        """What answers, without the guard."""
        known = [
            Route("/", self.page),
            Route("/static/{name}", self.static),
            Route("/api/runs", self.runs),
            Route("/api/events", self.events),
            Route("/api/run", self.run),
            Route("/api/scan", self.scan),
            Route("/api/lineage", self._of(self.bench.lineage)),
            Route("/api/account", self._of(self.bench.account)),
            Route("/api/asks", self._of(self.bench.asks)),
            Route("/report", self.report),
            Route("/beside", self.beside),
            Route("/api/answer", self._asked(self.bench.answer), methods=["POST"]),
            Route("/api/explain", self._asked(self.bench.explain), methods=["POST"]),
            Route("/api/write", self.write, methods=["POST"]),
        ]
        return Starlette(routes=known, exception_handlers={RootstockError: _refused, HTTPException: _missing})

    async def page(self, request: Request) -> Response:
        """The one page."""
        return _file("index.html")

    async def static(self, request: Request) -> Response:
        """A file of the page, by its name."""
        return _file(request.path_params["name"])

    async def runs(self, request: Request) -> Response:
        """Every run in a line, and pages beside them."""
        found = await run_in_threadpool(self.index.runs)
        return told({"root": self.index.root.name, "runs": found, "pages": self.index.pages, "cut": self.index.cut})

    async def events(self, request: Request) -> Response:
        """The stream of a page; follow names the run whose curves it draws."""
        followed = self._folder(request) if request.query_params.get("id") else None
        return StreamingResponse(live.stream(self.index, self.bench, followed, self.ending), media_type="text/event-stream")

    async def run(self, request: Request) -> Response:
        """What a run left as JSON: its manifest, metrics, plan; and whether there is a report."""
        folder = self._folder(request)
        held = {name: await run_in_threadpool(read, folder / f"{name}.json") for name in ("manifest", "metrics", "plan")}
        return told(held | {"report": self.index.inside(folder / "report.html") is not None})

    async def scan(self, request: Request) -> Response:
        """A static scan of the folder, made now; and what other checks left there."""
        folder = self._folder(request)
        found = await run_in_threadpool(scan, folder)
        findings = [{**each.as_json(), "action": found.policy.action(each)} for each in found.findings]
        for each in findings:
            each["path"] = str(each["path"]).removeprefix(f"{folder}/")
        left = [self._left(folder, name) for name in _CHECKS if self.index.inside(folder / f"{name}.json")]
        whole = {"refused": found.refused, "files": found.files, "bytes": found.bytes, "seconds": found.seconds}
        return told({**whole, "findings": findings, "left": left})

    def _left(self, folder: Path, name: str) -> Plain:
        """What another check found."""
        page = self.index.inside(folder / f"{name}.html")
        shown = (folder / f"{name}.html").relative_to(self.index.root).as_posix() if page else None
        found = read(folder / f"{name}.json")
        return {"name": name, "verdict": words(found.get("verdict")), "page": shown, "found": found}

    async def report(self, request: Request) -> Response:
        """The report that a run left, cut off from all else."""
        return self._framed(self._folder(request) / "report.html")

    async def beside(self, request: Request) -> Response:
        """A page that another verb left beside runs."""
        name = request.query_params.get("page", "")
        if name not in self.index.pages:
            await run_in_threadpool(self.index.runs)
        if name not in self.index.pages:
            raise HTTPException(404, "there is no such page")
        return self._framed(self.index.root / name)

    async def write(self, request: Request) -> Response:
        """What a run writes, a piece at a time; it stops when nobody listens any more."""
        folder, asked = await self._question(request)
        gone = threading.Event()

        def pieces() -> Generator[str]:
            with self._busy:
                try:
                    for piece in self.bench.write(folder, asked, gone.is_set):
                        yield event("piece", piece)
                    yield event("done", {})
                except RootstockError as error:
                    yield event("refused", refusal(error))

        async def sent() -> AsyncIterator[str]:
            made = pieces()
            try:
                async for each in iterate_in_threadpool(made):
                    yield each
            finally:
                gone.set()
                await run_in_threadpool(made.close)

        return StreamingResponse(sent(), media_type="text/event-stream")

    def _of(self, tell: Callable[[Path], Plain]) -> Callable[[Request], Any]:
        async def answered(request: Request) -> Response:
            return told(await run_in_threadpool(tell, self._folder(request)))

        return answered

    def _asked(self, tell: Callable[[Path, Plain], Plain]) -> Callable[[Request], Any]:
        async def answered(request: Request) -> Response:
            folder, asked = await self._question(request)

            def alone() -> Plain:
                with self._busy:
                    return tell(folder, asked)

            return told(await run_in_threadpool(alone))

        return answered

    async def _question(self, request: Request) -> tuple[Path, Plain]:
        try:
            asked = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise HTTPException(400, "the question is no JSON") from None
        if not isinstance(asked, dict) or not isinstance(asked.get("id"), str):
            raise HTTPException(400, "the question names no run")
        return self._known(asked["id"]), asked

    def _folder(self, request: Request) -> Path:
        return self._known(request.query_params.get("id", ""))

    def _known(self, name: str) -> Path:
        """Only what the index found can be named: no path leads anywhere else."""
        folder = self.index.find(name)
        if folder is None:
            raise HTTPException(404, "there is no such run")
        return folder

    def _framed(self, path: Path) -> Response:
        real = self.index.inside(path)
        if real is None:
            raise HTTPException(404, "there is no report yet")
        return FileResponse(real, media_type="text/html", headers=report_policy())


def _file(name: str) -> Response:
    if name not in _FILES:
        raise HTTPException(404, "there is no such file")
    return Response(_FILES[name], media_type=_KINDS[Path(name).suffix])


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RootstockError)
    return told(refusal(error), 422 if isinstance(error, UsageError) else 409)


async def _missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return told({"found": error.detail, "wanted": "", "fix": ""}, error.status_code)
