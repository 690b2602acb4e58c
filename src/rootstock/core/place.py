"""Whether a folder may be written to: nobody's own files are ever written over."""

from collections.abc import Collection
from pathlib import Path

from rootstock.core.errors import UsageError

PART = ".part"
"""What the name of something that is being written ends in."""


def held(folder: Path, what: str, *, own: Collection[str], wanted: str = "a new folder", also: bool = False) -> list[str]:
    """Names in a folder that `what` is to be written to; none where there is no folder.

    own: names that may be there. also: whether any other may. Raises UsageError for a file, and for a folder of somebody's own files.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", wanted=f"a folder for the {what}", fix="choose another --out")
    found = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    strangers = [name for name in found if name not in own and not name.endswith(PART)]
    if strangers and not also:
        raise UsageError(f"{folder} holds other files: {', '.join(strangers[:3])}", wanted=wanted, fix="choose another --out")
    return found


def check(folder: Path, what: str, *, files: Collection[str], overwrite: bool) -> None:
    """Raises UsageError where `files` can't be written: a file, somebody's files, or an earlier `what` without overwrite."""
    if set(held(folder, what, own=files)) & {*files} and not overwrite:
        raise already(folder, f"a {what}")


def already(folder: Path, what: str) -> UsageError:
    """What is raised where something would be written over unasked."""
    return UsageError(f"{folder} already holds {what}", wanted="a new folder", fix="choose another --out, or give --overwrite")
