"""What a scan leaves with --report: the page, its figures as JSON under the same name, and in a run's folder a manifest that knows both."""

from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.lock import alone
from rootstock.core.runfolder import RunFolder
from rootstock.run import ending


def check(kind: str, page: Path) -> None:
    """Raises UsageError, before anything is scanned, for a page that would stand in the way of other files."""
    if page.is_dir():
        raise UsageError(f"{page} is a folder", wanted="the name of an HTML file", fix=f"--report {page / f'{kind}.html'}")
    if page.suffix.lower() not in (".html", ".htm"):
        fix = f"--report {page.with_name(page.name + '.html')}"
        raise UsageError(f"--report {page}", wanted="a name that ends in .html: the figures come beside it, as .json", fix=fix)
    if RunFolder(page.parent).begun and page.name != f"{kind}.html":
        wanted = f"there {kind}.html, as which the studio finds it"
        raise UsageError(f"{page} lies in the folder of a run", wanted=wanted, fix=f"--report {page.with_name(f'{kind}.html')}")


def keep(value: Any, page: Path) -> Path:
    """Write the figures beside a page that stands; returns where. A run that has ended gets a manifest with the digests of both."""
    beside = page.with_suffix(".json")
    run = RunFolder(page.parent)
    if not run.complete or run.alone:
        artifact.write_json(beside, value)
        return beside
    with alone(run.path):
        artifact.write_json(beside, value)
        ending.add(run, [page.name, beside.name])
    return beside
