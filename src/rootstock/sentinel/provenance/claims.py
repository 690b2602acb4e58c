"""What lies beside a model and says which digests its files have: contracts, manifests, lists of sha256sum, the hub's metadata.

None of these is a proof of origin: whoever changes the weights can change the list too. They find damage, and changes by somebody who did
not think of them; a signature or a pinned digest finds the rest.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rootstock.sentinel.provenance import digests

_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_LISTED = re.compile(r"\\?([0-9a-fA-F]{64})[ \t]+\*?(.+)")
_LISTS = ("*SHA256SUMS*", "*sha256sums*", "*.sha256")
_MOST_BYTES = 64 << 20
"""Of a list that is read."""
_SNAPSHOT = re.compile(r"(models|datasets|spaces)--(.+)")


@dataclass(frozen=True)
class Claim:
    """A digest that a file should have. name: relative to the folder. digest: sha256, or git's sha1. by: the file that says so."""

    name: str
    digest: str
    by: str


@dataclass(frozen=True)
class Hub:
    """What the hub's client noted. repository: None where it did not. revision: the commit."""

    repository: str | None
    revision: str | None


@dataclass
class Compared:
    """Claims held against the bytes. issues: what differs. confirmed: name to the files that confirm it. unclaimed: of weights only."""

    issues: list[str] = field(default_factory=list)
    confirmed: dict[str, list[str]] = field(default_factory=dict)
    unclaimed: list[str] = field(default_factory=list)


def gather(folder: Path) -> list[Claim]:
    """All claims about files of a folder, also those of a run's manifest one level above."""
    if not folder.is_dir():
        return [each for each in gather(folder.parent) if each.name == folder.name]
    found = [*_of_manifests(folder), *_of_contracts(folder), *_of_lists(folder), *_of_hub(folder)]
    return sorted(set(found), key=lambda each: (each.name, each.by))


def compare(folder: Path, claims: list[Claim], held: dict[str, str]) -> Compared:
    """Hold claims against the digests of the files that are there."""
    root, result = (folder if folder.is_dir() else folder.parent), Compared()
    meant: dict[str, str] = {each.digest: each.name for each in claims if each.name.endswith(".safetensors")}
    for each in claims:
        if each.name not in held:
            result.issues.append(f"Missing file: {each.name} is not there, and {each.by} names it")
            continue
        found = held[each.name] if len(each.digest) == 64 else digests.blob(root / each.name)
        if found == each.digest:
            result.confirmed.setdefault(each.name, []).append(each.by)
        else:
            other = meant.get(found)
            swapped = f"; it holds what should be {other}: swapped files" if other and other != each.name else ""
            result.issues.append(f"Digest mismatch: {each.name} has {found}, {each.by} says {each.digest}{swapped}")
    named = {each.name for each in claims}
    result.unclaimed = [name for name in held if name.endswith(".safetensors") and name not in named]
    return result


def hub(folder: Path) -> Hub | None:
    """Repository and revision as the hub's client left them; None for a folder that it did not write."""
    place = folder.absolute()
    if place.parent.name == "snapshots" and (named := _SNAPSHOT.fullmatch(place.parent.parent.name)):
        return Hub(named[2].replace("--", "/"), place.name)
    for path in sorted((folder / ".cache/huggingface/download").rglob("*.metadata")):
        lines = _text(path).splitlines()
        return Hub(None, lines[0].strip() if lines else None)
    return None


def _of_manifests(folder: Path) -> Iterator[Claim]:
    for path in [*sorted(folder.rglob("manifest.json")), folder.absolute().parent / "manifest.json"]:
        files = _object(path).get("files")
        inside = path.is_relative_to(folder)
        below = path.parent.relative_to(folder).as_posix() if inside else ""
        for name, digest in files.items() if isinstance(files, dict) else ():
            start = "" if inside else f"{folder.absolute().name}/"
            if name.startswith(start) and (claim := _claim(below, name.removeprefix(start), digest, _said(path, folder))):
                yield claim


def _of_contracts(folder: Path) -> Iterator[Claim]:
    for path in sorted(folder.rglob("contract.json")):
        weights = _object(path).get("weights")
        for name, digest in weights.items() if isinstance(weights, dict) else ():
            if claim := _claim(path.parent.relative_to(folder).as_posix(), name, digest, _said(path, folder)):
                yield claim


def _of_lists(folder: Path) -> Iterator[Claim]:
    for path in sorted({path for pattern in _LISTS for path in folder.glob(pattern) if path.is_file()}):
        for line in _text(path).splitlines():
            if (found := _LISTED.fullmatch(line.strip())) and (claim := _claim("", found[2], found[1].lower(), path.name)):
                yield claim


def _of_hub(folder: Path) -> Iterator[Claim]:
    notes = folder / ".cache/huggingface/download"
    for path in sorted(notes.rglob("*.metadata")):
        lines = _text(path).splitlines()
        name = path.relative_to(notes).as_posix().removesuffix(".metadata")
        if len(lines) > 1 and (claim := _claim("", name, lines[1].strip().strip('"'), "the hub's metadata")):
            yield claim
    if folder.absolute().parent.name == "snapshots":
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() and path.resolve().parent.name == "blobs":
                claim = _claim("", path.relative_to(folder).as_posix(), path.resolve().name, "the hub's cache")
                yield from [claim] if claim else []


def _claim(below: str, name: object, digest: object, by: str) -> Claim | None:
    """A claim, or None for what is none, or leads out of the folder."""
    if not isinstance(name, str) or not isinstance(digest, str) or not (_SHA256.fullmatch(digest) or _SHA1.fullmatch(digest)):
        return None
    place = PurePosixPath(below) / name
    if place.is_absolute() or ".." in place.parts or place.name == digests.SIGNATURE:
        return None
    return Claim(place.as_posix(), digest, by)


def _said(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else f"../{path.name}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace") if path.is_file() and path.stat().st_size <= _MOST_BYTES else ""
    except OSError:
        return ""


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
