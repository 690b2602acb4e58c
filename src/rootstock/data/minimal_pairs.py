"""Minimal pairs: a sentence that is acceptable and one that is not, alike otherwise (BLiMP, Warstadt et al. 2020, arXiv:1912.00582)."""

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core.errors import DataError
from rootstock.core.seed import stream
from rootstock.data import files

_SUFFIXES = (".jsonl", ".jsonl.gz")
_SAME = {"syntax/semantics": "syntax_semantics", "s-selection": "argument_structure"}
"""BLiMP's files spell these otherwise in a few paradigms: its paper has four fields and twelve phenomena."""
_MOST_BYTES = 256 * 2**20
"""Of one file in a zip, unpacked: BLiMP's have half a megabyte, and a small zip can unpack to more than a disk holds."""


@dataclass(frozen=True)
class Pair:
    """paradigm: what varies between the two, BLiMP's UID. term: the phenomenon. field: syntax, morphology, semantics …; "" if unknown."""

    good: str
    bad: str
    paradigm: str
    term: str = ""
    field: str = ""


def read(place: Path) -> tuple[Pair, ...]:
    """Pairs from a zip, a folder or one file of JSON lines that hold sentence_good and sentence_bad.

    Raises DataError with file and line for what is no pair.
    """
    pairs = [
        _pair(line, f"{name}, line {number}", stem)
        for name, stem, text in _texts(place)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if not pairs:
        raise DataError(f"{place} holds no pair", wanted='JSON lines such as {"sentence_good": "…", "sentence_bad": "…", "UID": "…"}')
    return tuple(pairs)


def sample(pairs: Sequence[Pair], most: int, seed: int) -> tuple[Pair, ...]:
    """At most so many pairs of each paradigm, drawn with the seed, in the order of the data."""
    places: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        places.setdefault(pair.paradigm, []).append(i)
    chosen = [
        i
        for paradigm, held in places.items()
        for i in (held if len(held) <= most else stream(seed, "pairs", paradigm).choice(held, most, replace=False))
    ]
    return tuple(pairs[i] for i in sorted(chosen))


def holds_pairs(place: Path) -> bool:
    """Whether this looks like minimal pairs, by its names alone."""
    names = [each.name for each in place.iterdir()] if place.is_dir() else [place.name]
    return any(name.endswith((*_SUFFIXES, ".zip")) for name in names)


def _texts(place: Path) -> Iterator[tuple[str, str, str]]:
    """Name, stem and text of each file."""
    if place.is_dir():
        held = sorted(each for each in place.iterdir() if each.name.endswith(_SUFFIXES))
        zips = sorted(place.glob("*.zip"))
        if not held and len(zips) == 1:
            yield from _texts(zips[0])
        for each in held:
            yield from _texts(each)
    elif zipfile.is_zipfile(place):
        yield from _unzipped(place)
    else:
        data, _ = files.fetch(place, str(place))
        yield str(place), place.name.split(".")[0], files.decode(data, str(place), encoding="utf-8")[0]


def _unzipped(place: Path) -> Iterator[tuple[str, str, str]]:
    """The JSON lines in a zip, without the copies that macOS leaves under __MACOSX."""
    with zipfile.ZipFile(place) as held:
        for member in sorted(held.infolist(), key=lambda each: each.filename):
            path = Path(member.filename)
            if path.suffix != ".jsonl" or "__MACOSX" in path.parts or path.name.startswith("._"):
                continue
            name = f"{place}:{member.filename}"
            if member.file_size > _MOST_BYTES:
                raise DataError(
                    f"{name} unpacks to {member.file_size:,} bytes", wanted=f"at most {_MOST_BYTES:,}", fix="unpack it yourself"
                )
            try:
                data = held.read(member)
            except (
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                NotImplementedError,
                RuntimeError,
            ) as error:  # damaged, an odd packing, a password
                raise DataError(f"{name} can't be unpacked: {error}", fix="fetch it again, or unpack it yourself") from None
            yield name, path.stem, files.decode(data, name, encoding="utf-8")[0]


def _pair(line: str, where: str, stem: str) -> Pair:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: no JSON", wanted="one JSON object a line", fix="correct or remove the line") from None
    sentences: list[Any] = [found.get(key) for key in ("sentence_good", "sentence_bad")] if isinstance(found, dict) else []
    if not sentences or not all(isinstance(each, str) and each.strip() for each in sentences):
        raise DataError(f"{where}: no pair", wanted='{"sentence_good": "…", "sentence_bad": "…"}', fix="correct or remove the line")
    said = [str(found.get(key) or "") for key in ("UID", "linguistics_term", "field")]
    about = [_SAME.get(each, each) for each in said]
    return Pair(sentences[0], sentences[1], paradigm=about[0] or stem, term=about[1], field=about[2])
