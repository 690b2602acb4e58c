"""Files that are whole or absent: written beside, synced, renamed; and their digests."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rootstock.core.errors import RootstockError, UsageError, WriteFailed

_WRITE_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "writing is not permitted",
    errno.EPERM: "writing is not permitted",
    errno.EFBIG: "a file would be larger than is allowed here",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.ENOENT: "no folder can be made there",
    errno.ENAMETOOLONG: "the name is too long",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def digest_bytes(*parts: bytes | memoryview) -> str:
    """sha256 of the parts, each preceded by its length so that borders count."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, as sha256sum prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_folder(folder: Path) -> dict[str, str]:
    """Relative path to sha256 of every file below a folder, in order."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): digest_file(p) for p in files}


def digest_json(value: Any) -> str:
    """sha256 of a value's canonical JSON."""
    return digest_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False).encode())


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn a failed write below `target` into one clear WriteFailed."""
    try:
        yield
    except OSError as error:
        raise _failed(target, error) from error
    except RootstockError:
        raise
    except Exception as error:  # safetensors reports a failed write as an error of its own, with the number only in its text
        number = re.search(r"\(os error (\d+)\)", str(error))
        if not number:
            raise
        raise _failed(target, OSError(int(number[1]), os.strerror(int(number[1])))) from error


def unwritten(error: OSError) -> WriteFailed | None:
    """What to say of an error from anywhere that can only be that of a write: no room, or nothing may be written there; None of others."""
    place = error.filename if isinstance(error.filename, str) and error.filename else "a file"  # it may be the number of an open one
    return _failed(Path(place), error) if error.errno in (*_FULL, errno.EROFS) else None


def _failed(target: Path, error: OSError) -> WriteFailed:
    reason = _WRITE_ERRORS.get(error.errno or 0) or error.strerror or str(error)
    remedy = "free some space" if error.errno in _FULL else "choose another place with --out, or correct the permissions"
    return WriteFailed(f"could not write {target}: {reason}", fix=f"{remedy}; what was saved before is intact")


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a place to write a file at; it takes the target's name only when all of it is on disk. A reader sees the old one or the new."""
    beside = target.with_name(f".{target.name}.part")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            sync(beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step; a reader sees the old bytes or the new, never a part."""
    with whole_file(path) as beside:
        beside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Replace a UTF-8 text file in one step."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, wanted: str, fix: str) -> dict[str, Any]:
    """A JSON object that we wrote; UsageError where the file is missing or damaged. wanted: what its folder should be."""
    if not path.exists():
        raise UsageError(f"{path.parent} has no {path.name}", wanted=wanted, fix=fix)
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{path} is damaged", wanted="the JSON object that was written", fix="restore it, or make it again")
    return found


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write into; it takes the target's name only when all of it is on disk.

    An older folder of that name is replaced. On any error the target is left as it was.
    """
    beside, old = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.old.part")
    with writing(target):
        shutil.rmtree(beside, ignore_errors=True)
        if old.exists() and not target.exists():  # a kill between the two names
            old.rename(target)
        try:
            beside.mkdir(parents=True)
            yield beside
            for path in sorted(beside.rglob("*")):
                sync(path)
            sync(beside)
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():  # removing takes a while, in which half a folder would lie there
                target.rename(old)
            beside.rename(target)
            sync(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder, where there is one; a kill leaves all of it or nothing under its name, and the next call what is left of it."""
    beside = folder.with_name(f".{folder.name}.gone.part")
    with writing(folder):
        shutil.rmtree(beside, ignore_errors=True)
        if folder.exists():
            folder.rename(beside)
        shutil.rmtree(beside, ignore_errors=True)


def sync(path: Path) -> None:
    """Have a file or folder on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
