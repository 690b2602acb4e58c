"""rootstock scan --advisories: installed packages, and bases, against published advisories."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rootstock.bases.resolve import KNOWN, resolve
from rootstock.core.errors import BaseError, GateRefused, UsageError
from rootstock.core.modules import needed
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.report.words import several
from rootstock.sentinel.advisories import match, osv
from rootstock.sentinel.advisories.match import Finding, Model
from rootstock.sentinel.provenance import claims, digests
from rootstock.verbs import lineage
from rootstock.verbs.scanning import Scanned

TAKES = ("database",)
_OFFLINE = "name a database: --database all.zip, from https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"


def scanned(paths: Sequence[str], options: Mapping[str, Any], watch: Watch) -> Scanned:
    """What the command line asks."""
    found = check(paths, tuple(options.get("database") or ()), watch)
    return Scanned(found, as_text(found), lambda: refuse(found))


def check(paths: Sequence[str], databases: Sequence[Path], watch: Watch) -> dict[str, Any]:
    """Every advisory that holds here, as JSON.

    paths: runs, folders and bases beside what is installed; none: the bases that are installed as packages. Without a database the service
    of osv.dev is asked, through pip-audit, about packages alone. Raises UsageError where neither can be read.
    """
    packages = sorted(installed())
    if not databases:
        if paths:
            raise UsageError(f"{paths[0]} is named, and no service has advisories of models", wanted="--database", fix=_OFFLINE)
        watch.say(f"advisories  osv.dev is asked about {len(packages):,} packages")
        findings, skipped = _asked()
        notes = [f"not asked: {each}" for each in skipped] + ["bases are looked up in a --database only"]
        return _told(findings, notes, packages=len(packages), models=0, source="osv.dev, through pip-audit")
    database = osv.read(databases)
    models = [model for path in paths for model in _models(path)] or list(_known())
    findings, notes = match.packages(packages, database)
    findings += match.models(models, database)
    notes += [f"passed over: {several(count, 'record')} {reason}" for reason, count in database.passed_over.items()]
    source = f"{several(database.records, 'record')}, the newest of {database.newest[:10] or 'an unknown day'}"
    return _told(findings, notes, packages=len(packages), models=len(models), source=source)


def _told(findings: Sequence[Finding], notes: list[str], *, packages: int, models: int, source: str) -> dict[str, Any]:
    return {
        "findings": [each.as_json() for each in findings],
        "packages": packages,
        "models": models,
        "source": source,
        "notes": notes,
    }


def installed() -> set[tuple[str, str]]:
    """Name and version of every package that this Python finds."""
    found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    return {(name, version) for name, version in found if name and version}


def _known() -> Iterator[Model]:
    """Bases that are installed as packages."""
    for name in KNOWN:
        try:
            yield _base(name)
        except BaseError:  # not installed
            continue


def _models(path: str) -> Iterator[Model]:
    """A run with all that it grew from, a folder or file, or a base by its name."""
    place = Path(path).expanduser()
    if place.exists() and RunFolder(place).complete:
        for link in lineage.walk(place).every():
            hub = str(link.facts.get("hub_id") or "")
            names = tuple(dict.fromkeys(each for each in (hub, link.name) if each))
            revision = link.facts.get("revision")
            yield Model(name=f"{link.role} {link.name}", names=names, revision=str(revision) if revision else None, files=link.files)
    elif place.exists():
        cached = claims.hub(place) if place.is_dir() else None
        names = tuple(each for each in (cached.repository if cached else None, place.resolve().name) if each)
        files = digests.each(place, digests.files(place))
        yield Model(name=path, names=names, revision=cached.revision if cached else None, files=files)
    else:
        yield _base(path)


def _base(name: str) -> Model:
    found = resolve(name)
    names = tuple(each for each in (found.hub_id, name) if each)
    return Model(name=name, names=names, revision=found.revision, files=found.admission.files if found.admission else {})


# -- the service ------------------------------------------------------------------------------------------------------------


def _asked() -> tuple[list[Finding], list[str]]:
    """What osv.dev says of this environment, by the command of pip-audit."""
    needed("pip_audit", "asking osv.dev", extra="security", otherwise=_OFFLINE)
    words = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        held = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}")
        raise UsageError(f"osv.dev could not be asked: {said.strip()[:300]}", wanted="a network, or a database", fix=_OFFLINE) from None
    findings = [_service(each, fault) for each in held for fault in each.get("vulns") or ()]
    return findings, [f"{each['name']}: {each['skip_reason']}" for each in held if each.get("skip_reason")]


def _service(package: Mapping[str, Any], fault: Mapping[str, Any]) -> Finding:
    return Finding(
        package=str(package["name"]),
        version=str(package["version"]),
        id=str(fault["id"]),
        fixed_in=(list(fault.get("fix_versions") or ()) or [None])[0],
        link=f"https://osv.dev/vulnerability/{fault['id']}",
        summary=" ".join(str(fault.get("description") or "").split())[:200],
        aliases=tuple(fault.get("aliases") or ()),
    )


def as_text(found: Mapping[str, Any]) -> str:
    """For people."""
    lines = [line for each in found["findings"] for line in _lines(each)]
    lines += [f"note      {each}" for each in found["notes"]]
    what = several(found["packages"], "package") + (f" and {several(found['models'], 'model')}" if found["models"] else "")
    count = len(found["findings"])
    verdict = _held(count) if count else "no advisory holds"
    return "\n".join([*lines, f"verdict   {verdict} for {what}, by {found['source']}"])


def _lines(each: Mapping[str, Any]) -> Iterator[str]:
    fixed = f"fixed in {each['fixed_in']}" if each["fixed_in"] else "no fixed version is known"
    names = f" ({', '.join(each['aliases'])})" if each["aliases"] else ""
    severity = f", {each['severity']}" if each["severity"] else ""
    yield f"found     {each['package']} {each['version']}: {each['id']}{names}{severity}; {fixed}"
    if each["why"]:
        yield f"          {each['why']}"
    if each["summary"]:
        yield f"          {each['summary']}"
    yield f"          {each['link']}"


def _held(count: int) -> str:
    return "1 advisory holds" if count == 1 else f"{count:,} advisories hold"


def refuse(found: Mapping[str, Any]) -> None:
    """Raises GateRefused where an advisory holds."""
    if held := found["findings"]:
        named = [f"{each['package']} to {each['fixed_in']}" for each in held if each["fixed_in"]]
        fix = f"update {', '.join(dict.fromkeys(named))}" if named else "read them above"
        raise GateRefused(f"{_held(len(held))} for what is installed or named", fix=fix)
