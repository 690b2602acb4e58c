"""A folder of class folders: each .txt below FOLDER/CLASS/ is a text, its folder's name the label."""

from pathlib import Path

from rootstock.core.artifact import digest_bytes
from rootstock.core.errors import DataError
from rootstock.data.files import decode, fetch, missing
from rootstock.data.tables import Parsed, build


def read_folder(folder: Path, name: str, *, encoding: str) -> tuple[Parsed, str]:
    """Columns text and label in the order of the file names, and the digest over names and bytes."""
    classes = {each.name: _texts(each) for each in _folders(folder)}
    files = [(label, path) for label, paths in classes.items() for path in paths]
    if not files:
        raise _nothing(folder, name)
    texts, parts = [], []
    for label, path in files:
        where = f"{name}/{label}/{path.name}"
        data = _content(path, where)
        texts.append(decode(data, where, encoding=encoding)[0])
        parts += [f"{label}/{path.name}".encode("utf-8", "surrogateescape"), data]
    table, _ = build({"text": texts, "label": [label for label, _ in files]}, range(1, len(files) + 1), name=name)
    return Parsed(table, "folder", _notes(folder, classes)), digest_bytes(*parts)


def _content(path: Path, where: str) -> bytes:
    if path.stat().st_size == 0:
        return b""  # an empty text is the ledger's to count
    return fetch(path, where)[0]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise missing(folder, str(folder)) from None
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error}", fix="check the permissions") from None


def _folders(folder: Path) -> list[Path]:
    return [each for each in _entries(folder) if each.is_dir() and not each.name.startswith(".")]


def _texts(folder: Path) -> list[Path]:
    return [each for each in _entries(folder) if each.is_file() and each.name.lower().endswith((".txt", ".txt.gz"))]


def _notes(folder: Path, classes: dict[str, list[Path]]) -> tuple[str, ...]:
    filled = [label for label, paths in classes.items() if paths]
    notes = [f"folder of {len(filled)} class folders"]
    notes += [f"folder {label!r} holds no .txt and is left out" for label, paths in classes.items() if not paths]
    others = sum(len(_entries(folder / label)) - len(classes[label]) for label in filled)
    if others:
        notes.append(f"{others} other entr{'ies' if others > 1 else 'y'} in class folders left out: no .txt")
    return tuple(notes)


def _nothing(folder: Path, name: str) -> DataError:
    deeper = [each.name for each in _folders(folder) if any(_texts(below) for below in _folders(each))]
    files = [each.name for each in _entries(folder) if each.is_file()][:3]
    fix = "make one folder for each class and put the texts into it"
    if deeper:
        fix = f"give {name}/{deeper[0]}: the class folders are there"
    elif files:
        fix = f"name one of its files, such as {', '.join(files)}"
    return DataError(f"{name} is a folder without class folders", wanted="FOLDER/CLASS/*.txt, or a file", fix=fix)
