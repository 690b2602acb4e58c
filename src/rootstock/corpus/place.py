"""Where a corpus goes: never over what somebody else wrote, and never into what it is made from."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rootstock.core import artifact, aside, place
from rootstock.core.errors import ContractRefused, UsageError
from rootstock.corpus import parts

_UNFINISHED = re.compile(
    r"shard-\d{5}\.parquet|funnel\.json|README\.md|\.(shard-\d{5}\.parquet|funnel\.json|README\.md|manifest\.json)\.part"
)
"""Names that a build which was killed at its end can leave beside its parts."""
_PART = re.compile(r"part-\d{6}|\.part-\d{6}\.part")


def check_apart(out: Path, references: Iterable[str]) -> None:
    """Raise UsageError where the corpus would lie in what it is made from, or the other way round."""
    folder = out.resolve()
    for reference in references:
        source = Path(reference).resolve()
        if Path(reference).exists() and (folder == source or folder in source.parents or source in folder.parents):
            raise UsageError(
                f"{out} and {reference} lie in one another", wanted="a folder apart from all sources", fix="choose another --out"
            )


def finished(out: Path, key: str, *, overwrite: bool) -> bool:
    """Whether this very build lies there complete. Another one is refused, or removed where asked; anybody else's files are refused."""
    held = place.held(out, "corpus", own=(), also=True)
    if not held:
        return False
    manifest = _manifest(out)
    ours = {*manifest.get("files", ()), "manifest.json"} if manifest else set()
    if _begun(out):
        ours |= {"parts", *(name for name in held if _UNFINISHED.fullmatch(name))}
    place.held(out, "corpus", own=ours, wanted="a new or empty folder")
    if manifest and manifest.get("key") == key and all((out / name).is_file() for name in manifest["files"]):
        shutil.rmtree(out / "parts", ignore_errors=True)  # a kill between the manifest and this line
        return True
    _make_room(out, key, manifest, overwrite=overwrite)
    return False


def _make_room(out: Path, key: str, manifest: dict[str, Any], *, overwrite: bool) -> None:
    """Put another build aside where asked, until the first part of this one is there; what this one has done so far stays."""
    other = bool(manifest) and manifest.get("key") != key
    if other and not overwrite:
        raise UsageError(f"{out} holds a corpus built otherwise", wanted="a new folder", fix="choose another --out, or give --overwrite")
    try:
        parts.written(out / "parts", key)
    except ContractRefused:
        if not overwrite:
            raise
        other = True
    if other:
        return aside.put(out)
    for name in ("manifest.json", *manifest.get("files", ())) if manifest else ():
        (out / name).unlink(missing_ok=True)


def _begun(out: Path) -> bool:
    """Whether the folder holds parts of a build and nothing else under that name."""
    folder = out / "parts"
    return folder.is_dir() and all(_PART.fullmatch(each.name) for each in folder.iterdir())


def _manifest(out: Path) -> dict[str, Any]:
    """The manifest that a build wrote; empty where there is none."""
    path = out / "manifest.json"
    if not path.exists():
        return {}
    found = artifact.read_json(path, wanted="a corpus", fix="build it again")
    return found if {"key", "files", "sources"} <= set(found) else {}
