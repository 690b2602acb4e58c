"""The verb scan: what is scanned, how it is told, and when it refuses."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock import __version__
from rootstock.core.errors import GateRefused, UnknownName
from rootstock.sentinel.scanner import Report, scan

FORMATS = ("text", "json", "sarif")


@dataclass(frozen=True)
class Scanned:
    """What a kind of scan found: as JSON, as text, and what raises GateRefused where it is to be refused."""

    value: Any
    text: str
    refuse: Callable[[], None]


def check(paths: Sequence[str], form: str, policy: str, on_file: Callable[[str], None] | None = None) -> tuple[str, Report]:
    """Scan, and the report in a form. Raises UsageError before anything is read where a path, form or policy is none."""
    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    report = scan(*map(_place, paths), policy=policy, on_file=on_file)
    return told(report, form), report


def _place(path: str) -> Path:
    """What a word means: a file or folder, else a known base, or a repository of the hub, which is fetched and not opened."""
    place = Path(path)
    if place.exists() or place.is_symlink() or (len(place.parts) > 1 and place.parent.is_dir()):
        return place
    from rootstock.bases.resolve import unopened  # imports what a scan of files does without

    return unopened(path) or place


def told(report: Report, form: str) -> str:
    """A report as text, JSON or SARIF."""
    if form == "text":
        from rootstock.sentinel.output.text import as_text

        return as_text(report)
    if form == "sarif":
        from rootstock.sentinel.output.sarif import as_sarif

        return json.dumps(as_sarif(report, __version__), indent=2)
    from rootstock.sentinel.output.text import verdict

    whole = {"verdict": verdict(report), "refused": report.refused, "files": report.files, "bytes": report.bytes}
    findings = [{**each.as_json(), "action": report.policy.action(each)} for each in report.findings]
    return json.dumps({**whole, "seconds": report.seconds, "findings": findings}, indent=2)


def refuse(report: Report) -> None:
    """Raises GateRefused where the policy refuses a finding."""
    if report.refused:
        refused = report.by_action("refuse")
        places = len({each.path for each in refused})
        raise GateRefused(
            f"{len(refused):,} findings in {places:,} files are refused",
            fix="read them above; each rule has a page in docs/rules/, and docs/scanning.md says how a policy allows one",
        )
