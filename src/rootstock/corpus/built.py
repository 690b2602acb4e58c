"""Which folders are corpora that were built, and what of them is text: their shards, and never the card and the record beside."""

import json
from collections.abc import Mapping
from pathlib import Path

from rootstock.core.errors import DataError

_KEYS = {"key", "files", "sources"}
"""What the manifest of a corpus holds, whatever else is called manifest.json."""


def shards(reference: str) -> dict[str, str] | None:
    """The shards of a built corpus with the digest that each had; None for a folder of somebody else's, and for all that is no folder.

    Raises DataError where shards are missing or too many, or where the build has not ended.
    """
    folder = Path(reference)
    if not folder.is_dir():
        return None
    lie = {path.name for path in folder.glob("shard-*.parquet")}
    manifest = _manifest(folder / "manifest.json")
    if manifest is None:
        begun = any(folder.glob("parts/part-[0-9]*/account.json"))  # its parts hold near duplicates still, and not all of the sources
        if begun or (lie and ((folder / "funnel.json").exists() or any(folder.glob("parts/part-[0-9]*")))):
            fix = "give the same `rootstock corpus build` again"
            raise DataError(f"{reference} is a corpus without its manifest.json", wanted="a build that has ended", fix=fix)
        return None
    told = {name: str(digest) for name, digest in manifest["files"].items() if name.startswith("shard-")}
    if apart := sorted(lie ^ told.keys()):
        where = "is missing" if apart[0] in told else "is not in its manifest.json"
        raise DataError(f"{reference}: {apart[0]} {where}", wanted=f"the {len(told)} shards that were built", fix="build the corpus again")
    return dict(sorted(told.items()))


def _manifest(path: Path) -> Mapping[str, Mapping[str, str]] | None:
    """What a build wrote; None where there is nothing, or something of somebody else's."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() >= _KEYS and isinstance(found["files"], dict) else None
