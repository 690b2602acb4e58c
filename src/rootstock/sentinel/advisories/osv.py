"""Records of an OSV-format database (https://ossf.github.io/osv-schema/), from files, folders and zips, without a network.

Models have records of the same form: the ecosystem is "Hugging Face", the name a hub id or the name of a base, `versions` are revisions,
and `ecosystem_specific: {sha256: [...]}` names files by their digest wherever they lie.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from rootstock.core.errors import DataError

PACKAGES, MODELS = "PyPI", "Hugging Face"
_MOST_BYTES = 16 << 20
"""Of one record, unpacked; the longest published ones have some hundred thousand."""
_MOST_RECORDS = 2_000_000
_WANTED = "records of the OSV format: one a file, or a list of them"


@dataclass(frozen=True, kw_only=True)
class Affected:
    """One package or model of a record. digests: sha256 of files."""

    ecosystem: str
    name: str
    versions: frozenset[str]
    ranges: tuple[tuple[tuple[str, str], ...], ...]
    digests: frozenset[str] = frozenset()

    def holds(self, version: str) -> bool:
        """Whether a version is affected. Raises InvalidVersion for one that has no place among the others."""
        if version in self.versions:
            return True
        place = Version(version)
        return any(_place(each) == place for each in self.versions) or any(_within(place, events) for events in self.ranges)

    def fixed_in(self, version: str) -> str | None:
        """The smallest later version in which it is mended."""
        fixed = [value for events in self.ranges for kind, value in events if kind == "fixed"]
        later = [place for value in fixed if (place := _place(value)) is not None and place > Version(version)]
        return str(min(later)) if later else None


@dataclass(frozen=True, kw_only=True)
class Record:
    """An advisory."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    severity: str
    link: str
    affected: tuple[Affected, ...]

    @property
    def names(self) -> frozenset[str]:
        """Every id that it goes by."""
        return frozenset((self.id, *self.aliases))


@dataclass
class Database:
    """Records by ecosystem and name. newest: when a record was last changed. passed_over: records that say nothing here, by reason."""

    by_name: dict[tuple[str, str], list[tuple[Record, Affected]]] = field(default_factory=dict)
    by_digest: dict[str, list[tuple[Record, Affected]]] = field(default_factory=dict)
    records: int = 0
    newest: str = ""
    passed_over: dict[str, int] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Make it found by what it affects."""
        for each in record.affected:
            self.by_name.setdefault(key(each.ecosystem, each.name), []).append((record, each))
            for digest in each.digests:
                self.by_digest.setdefault(digest, []).append((record, each))

    def of(self, ecosystem: str, name: str) -> Sequence[tuple[Record, Affected]]:
        """What is said of a package or model."""
        return self.by_name.get(key(ecosystem, name), ())


def key(ecosystem: str, name: str) -> tuple[str, str]:
    """Spellings of one name are one: of packages as the index has it, of models without regard to case."""
    return ecosystem, canonicalize_name(name) if ecosystem == PACKAGES else name.lower()


def read(places: Sequence[Path]) -> Database:
    """Raises DataError with the file for what is no record."""
    found = Database()
    for place in places:
        for where, data in _files(place):
            for held in _records(data, where):
                _take(held, where, found)
    if not found.records:
        raise DataError(f"{', '.join(map(str, places))}: no record", wanted=_WANTED, fix="fetch the database again")
    return found


# -- files ------------------------------------------------------------------------------------------------------------------


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        for path in sorted(each for each in place.rglob("*") if each.suffix in (".json", ".zip") and each.is_file()):
            yield from _files(path)
    elif not place.is_file():
        raise DataError(f"there is no {place}", wanted=f"a file, folder or zip with {_WANTED}", fix="check the path")
    elif zipfile.is_zipfile(place):
        yield from _unzipped(place)
    else:
        yield str(place), place.read_bytes()


def _unzipped(place: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(place) as held:
            for member in held.infolist():
                if not member.filename.endswith(".json"):
                    continue
                with held.open(member) as stream:
                    data = stream.read(_MOST_BYTES + 1)
                if len(data) > _MOST_BYTES:
                    raise DataError(f"{place}: {member.filename} unpacks to more than {_MOST_BYTES:,} bytes", wanted="one record a member")
                yield f"{place}: {member.filename}", data
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:  # damaged, odd packing, password
        raise DataError(f"{place} can't be unpacked: {error}", fix="fetch it again, or unpack it yourself") from None


def _records(data: bytes, where: str) -> list[Any]:
    try:
        held = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}", wanted=_WANTED, fix="fetch it again") from None
    if isinstance(held, dict) and isinstance(held.get("vulns"), list):
        held = held["vulns"]
    return held if isinstance(held, list) else [held]


# -- records ----------------------------------------------------------------------------------------------------------------


def _take(held: Any, where: str, into: Database) -> None:
    into.records += 1
    if into.records > _MOST_RECORDS:
        raise DataError(f"{where}: more than {_MOST_RECORDS:,} records", wanted="one database")
    if not isinstance(held, dict) or not isinstance(held.get("id"), str):
        raise DataError(f"{where}: a record without an id", wanted=_WANTED, fix="fetch it again")
    into.newest = max(into.newest, str(held.get("modified") or ""))
    if reason := _passed_over(held):
        into.passed_over[reason] = into.passed_over.get(reason, 0) + 1
        return
    try:
        into.add(_record(held))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{where}: {held['id']} is no record of the OSV format: {error}", wanted=_WANTED, fix="fetch it again") from None


def _passed_over(held: Mapping[str, Any]) -> str:
    if str(held.get("schema_version") or "1").split(".")[0] != "1":
        return "of another version of the format"
    if held.get("withdrawn"):
        return "withdrawn"
    return "" if held.get("affected") else "without what is affected"


def _record(held: Mapping[str, Any]) -> Record:
    return Record(
        id=held["id"],
        aliases=tuple(str(each) for each in held.get("aliases") or ()),
        summary=" ".join(str(held.get("summary") or held.get("details") or "").split())[:200],
        severity=_severity(held),
        link=_link(held),
        affected=tuple(_affected(each) for each in held["affected"] if each.get("package")),
    )


def _affected(held: Mapping[str, Any]) -> Affected:
    package = held["package"]
    ranges = [each for each in held.get("ranges") or () if each["type"] in ("ECOSYSTEM", "SEMVER")]
    digests = (held.get("ecosystem_specific") or {}).get("sha256") or ()
    return Affected(
        ecosystem=package["ecosystem"],
        name=package["name"],
        versions=frozenset(str(each) for each in held.get("versions") or ()),
        ranges=tuple(tuple((str(kind), str(value)) for event in each["events"] for kind, value in event.items()) for each in ranges),
        digests=frozenset(str(each).lower() for each in digests) if isinstance(digests, list | tuple) else frozenset(),
    )


def _severity(held: Mapping[str, Any]) -> str:
    """A word where the database has one, else the vector."""
    named = (held.get("database_specific") or {}).get("severity")
    scores = [str(each.get("score")) for each in held.get("severity") or ()]
    return str(named).lower() if named else (scores or [""])[0]


def _link(held: Mapping[str, Any]) -> str:
    references = [each for each in held.get("references") or () if each.get("url")]
    chosen = [each for each in references if each.get("type") in ("ADVISORY", "REPORT", "WEB")] or references
    return str(chosen[0]["url"]) if chosen else f"https://osv.dev/vulnerability/{held['id']}"


# -- versions ---------------------------------------------------------------------------------------------------------------


def _within(version: Version, events: Sequence[tuple[str, str]]) -> bool:
    """The specification's evaluation: events in order of their versions switch between affected and not, limits bound all of it."""
    limits = [value for kind, value in events if kind == "limit" and value != "*"]
    if limits and not any(version < Version(value) for value in limits):
        return False
    affected = False
    for kind, value in sorted((each for each in events if each[0] != "limit"), key=_order):
        if kind == "introduced" and (value == "0" or version >= Version(value)):
            affected = True
        elif (kind == "fixed" and version >= Version(value)) or (kind == "last_affected" and version > Version(value)):
            affected = False
    return affected


def _order(event: tuple[str, str]) -> tuple[Version, bool]:
    """By version; what is fixed and introduced again at one version is introduced last."""
    kind, value = event
    return Version("0.dev0") if value == "0" else Version(value), kind == "introduced"


def _place(spelled: str) -> Version | None:
    try:
        return Version(spelled)
    except InvalidVersion:
        return None
