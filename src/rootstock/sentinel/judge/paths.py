"""Paths and addresses that a file names for a loader to open: inside its folder, out of it, or on the network."""

import re
from pathlib import PurePosixPath, PureWindowsPath

_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]{1,20}:/{1,3}")


def escapes(path: str) -> str:
    """Why a path leaves the folder that it stands in, as half a sentence; empty where it does not."""
    if _URL.match(path):
        return "is an address, not a file beside it"
    if "\0" in path:
        return "holds a zero byte, at which loaders cut it"
    if path.startswith(("/", "\\", "~")) or PureWindowsPath(path).drive:
        return "is absolute"
    if ".." in PurePosixPath(path.replace("\\", "/")).parts:
        return "climbs out of the folder"
    if path.startswith(("|", "$", "%", "*")):
        return "is no plain name"
    return ""
