"""Packages and models against the records of a database."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from packaging.version import InvalidVersion

from rootstock.sentinel.advisories.osv import MODELS, PACKAGES, Affected, Database, Record


@dataclass(frozen=True, kw_only=True)
class Model:
    """A base or run. names: what it is called, hub id included. files: name to sha256."""

    name: str
    names: tuple[str, ...]
    revision: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An advisory that holds for something that is here. fixed_in: None where no version is known that mends it."""

    package: str
    version: str
    id: str
    fixed_in: str | None
    link: str
    severity: str = ""
    summary: str = ""
    aliases: tuple[str, ...] = ()
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def packages(installed: Iterable[tuple[str, str]], database: Database) -> tuple[list[Finding], list[str]]:
    """Advisories of installed packages, each fault once; and notes of versions that could not be compared."""
    found, notes = list[Finding](), list[str]()
    for name, version in installed:
        held: list[tuple[Record, Affected]] = []
        for record, affected in database.of(PACKAGES, name):
            try:
                if affected.holds(version):
                    held.append((record, affected))
            except InvalidVersion as error:
                notes.append(f"{name} {version} could not be compared with {record.id}: {error}")
        found += [_package(name, version, record, affected, aliases) for record, affected, aliases in _once(held)]
    return found, notes


def _once(held: list[tuple[Record, Affected]]) -> list[tuple[Record, Affected, tuple[str, ...]]]:
    """Records of one fault under several ids as one, by their aliases."""
    kept: list[tuple[Record, Affected, set[str]]] = []
    for record, affected in sorted(held, key=lambda each: each[0].id):
        same = next((names for _, _, names in kept if names & record.names), None)
        if same is None:
            kept.append((record, affected, set(record.names)))
        else:
            same |= record.names
    return [(record, affected, tuple(sorted(names - {record.id}))) for record, affected, names in kept]


def _package(name: str, version: str, record: Record, affected: Affected, aliases: tuple[str, ...]) -> Finding:
    told = {"link": record.link, "severity": record.severity, "summary": record.summary, "aliases": aliases}
    return Finding(package=name, version=version, id=record.id, fixed_in=affected.fixed_in(version), **told)  # type: ignore[arg-type]


def models(held: Iterable[Model], database: Database) -> list[Finding]:
    """Advisories of bases, by the digest of a file, or by name and revision."""
    found = []
    for model in held:
        for record, affected, why in _of(model, database).values():
            told = {"link": record.link, "severity": record.severity, "summary": record.summary, "aliases": record.aliases}
            version = model.revision or "revision unknown"
            fixed = next((value for events in affected.ranges for kind, value in events if kind == "fixed"), None)
            found.append(Finding(package=model.name, version=version, id=record.id, fixed_in=fixed, why=why, **told))  # type: ignore[arg-type]
    return found


def _of(model: Model, database: Database) -> dict[str, tuple[Record, Affected, str]]:
    found: dict[str, tuple[Record, Affected, str]] = {}
    for name, digest in model.files.items():
        for record, affected in database.by_digest.get(digest, ()):
            found.setdefault(record.id, (record, affected, f"{name} has the sha256 {digest}"))
    for name in model.names:
        for record, affected in database.of(MODELS, name):
            if affected.digests and not affected.versions and model.files:
                continue  # the record names files, and none of these is one of them
            if not affected.versions or model.revision is None or model.revision in affected.versions:
                sure = "" if not affected.versions or model.revision else ", and its revision is not known"
                found.setdefault(record.id, (record, affected, f"it is called {name}{sure}"))
    return found
