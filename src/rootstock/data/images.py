"""Image files where they lie: in a folder, in a .tar, or named by a table of captions. What they hold is read by pixels.py."""

import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rootstock.core.artifact import digest_bytes, digest_file
from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import column
from rootstock.data import source
from rootstock.data.files import missing
from rootstock.data.looks import TEXTS, plain

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_IMAGES = ("image", "imagepath", "imagefile", "filename", "filepath", "file", "path", "img", "picture", "photo")
_CAPTIONS = ("caption", "captions", *TEXTS, "label", "class", "category")
_LARGEST = 256 << 20
"""Bytes of a file in a .tar: what claims to be larger is no image, and is not unpacked into memory."""


@dataclass(frozen=True)
class Shelf:
    """Image files and what is known of each, in a fixed order.

    place: the folder or .tar that they are in. names: their paths in it. texts: the class folder of each, "" where there is none, or its
    caption. captioned: whether texts are captions. others: files that are no images. digest: changes where one of them does.
    """

    place: Path
    names: tuple[str, ...]
    texts: tuple[str, ...]
    digest: str
    captioned: bool = False
    others: int = 0

    @property
    def classes(self) -> list[str]:
        """Names of the class folders, in order."""
        return sorted(set(self.texts) - {""})

    def only(self, chosen: Sequence[int]) -> "Shelf":
        """Some of the files, in the order of the shelf."""
        kept = sorted(chosen)
        return replace(self, names=tuple(self.names[i] for i in kept), texts=tuple(self.texts[i] for i in kept))

    def contents(self) -> Iterator[tuple[int, bytes | str]]:
        """Number and bytes of each file, or the reason why there are none. Each number comes once, in no promised order."""
        if self.place.is_dir():
            yield from ((number, _bytes(self.place / name)) for number, name in enumerate(self.names))
            return
        wanted = {name: number for number, name in enumerate(self.names)}
        with _opened(self.place) as packed:
            for member in packed:
                if member.name in wanted:
                    yield wanted.pop(member.name), _member(packed, member)  # a name that comes twice counts once


def shelf(reference: str) -> Shelf:
    """The images of a folder and all below it, or of a .tar, packed or not. Raises DataError where there are none."""
    place = Path(reference).expanduser()
    if not place.exists():
        raise missing(place, reference)
    names, others = _in_folder(place) if place.is_dir() else _in_tar(place, reference)
    if not names:
        raise DataError(
            f"{reference} holds no images, and {others:,} other files",
            wanted=f"files that end in {' '.join(SUFFIXES)}, in folders of their own for each class or not",
            fix="name the folder or the .tar that they are in",
        )
    digest = _digest(place, names) if place.is_dir() else digest_file(place)
    return Shelf(place, tuple(names), tuple(map(_class, names)), digest, others=others)


def captions(reference: str, settings: DataSettings, *, image: str | None = None, text: str | None = None) -> Shelf:
    """The images and captions of a table (CSV, TSV, JSON lines, JSON, Parquet, Arrow); files are named from its folder.

    image, text: their columns, found by name if None. Raises DataError where there is no such table or column.
    """
    found = source.read(reference, settings)
    columns = [name for name in found.table.column_names if name != "row"]
    by_image = _column(reference, columns, _IMAGES, chosen=image, what="image")
    by_text = _column(reference, [name for name in columns if name != by_image], _CAPTIONS, chosen=text, what="text")
    pairs = zip(column(found.table, by_image), column(found.table, by_text), strict=True)
    held = [(str(name or ""), str(caption or "")) for name, caption in pairs]
    place = Path(reference).expanduser().resolve().parent
    names, texts = tuple(name for name, _ in held), tuple(caption for _, caption in held)
    digest = digest_bytes(found.digest.encode(), _digest(place, sorted(set(names))).encode())
    return Shelf(place, names, texts, digest, captioned=True)


def is_table(reference: str) -> bool:
    """Whether a reference is neither a folder nor a .tar."""
    path = Path(reference).expanduser()
    return not path.is_dir() and not path.name.lower().endswith(_TARS)


def holds_images(reference: str) -> bool:
    """Whether a reference is a .tar, or a folder with an image in it or below it."""
    place = Path(reference).expanduser()
    return not is_table(reference) and place.exists() and (not place.is_dir() or any(is_image(each.name) for each in place.rglob("*")))


def is_image(name: str) -> bool:
    """Whether a file is an image by its name. Names that begin with a dot are other programs' own."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _class(name: str) -> str:
    return PurePosixPath(name).parent.name


def _in_folder(place: Path) -> tuple[list[str], int]:
    files = [path for path in place.rglob("*") if path.is_file()]
    names = sorted(path.relative_to(place).as_posix() for path in files)
    images = [name for name in names if is_image(name)]
    return images, len(names) - len(images)


def _in_tar(place: Path, reference: str) -> tuple[list[str], int]:
    with _opened(place) as packed:
        try:
            names = [member.name for member in packed if member.isfile()]
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(f"{reference} is cut off or damaged: {error}", fix="fetch or copy it again") from None
    images = sorted({name for name in names if is_image(name)})
    return images, len(names) - len(images)


def _opened(place: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(place)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{place} can't be read as a .tar: {error}", wanted="a folder of images, or a .tar of one", fix="name the folder or the .tar"
        ) from None


def _member(packed: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    """A file's bytes; nothing is ever written to the disk."""
    if member.size > _LARGEST:
        return "too large"
    held = packed.extractfile(member)
    return held.read() if held else "not there"


def _bytes(path: Path) -> bytes | str:
    try:
        return path.read_bytes()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return "not there" if "\0" in str(path) or not path.exists() else "not readable"


def _digest(place: Path, names: Collection[str]) -> str:
    """Of names and bytes, file by file."""
    parts = []
    for name in names:
        held = _bytes(place / name)
        parts.append(digest_bytes(name.encode("utf-8", "surrogateescape"), held if isinstance(held, bytes) else held.encode()))
    return digest_bytes(*(part.encode() for part in parts))


def _column(reference: str, columns: Sequence[str], known: Sequence[str], *, chosen: str | None, what: str) -> str:
    if chosen:
        if chosen not in columns:
            raise DataError(f"{reference} has no column {chosen!r}", wanted=f"one of {', '.join(columns)}", fix=f"correct task.{what}")
        return chosen
    for name in known:
        for each in columns:
            if plain(each) == name:
                return each
    raise DataError(
        f"{reference} has no column that is known to hold the {what}",
        wanted=f"one of {', '.join(columns) or 'the columns, of which there are none'}",
        fix=f"name it: --set task.{what}=COLUMN",
    )
