"""One large array on disk under the digest of all that made it: filled in any order, read through a memory map, whole or absent.

For arrays that memory need not hold. A file is safetensors with one tensor, whose metadata holds the digest of its values.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rootstock.core.artifact import digest_json, whole_file
from rootstock.core.resources import cache_folder

_NAME = "states"
_KINDS: dict[np.dtype[Any], str] = {np.dtype(np.float32): "F32", np.dtype(np.uint16): "BF16"}
"""numpy has no bf16: its 16 bits travel as whole numbers."""
_PLACE = "0" * 64
_PIECE = 1 << 22


def place(kind: str, key: Mapping[str, Any]) -> Path:
    """Where the array under this key lies, or would."""
    return cache_folder() / kind / f"{digest_json(dict(key))}.safetensors"


@contextmanager
def making(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    """An array to fill; it is at `path` once all of it is on disk. WriteFailed before anything is filled where the disk can't hold it."""
    with whole_file(path) as beside:
        start, count = _header(shape, dtype, _PLACE), int(np.prod(shape)) * dtype.itemsize
        with beside.open("wb") as stream:
            stream.write(start)
            stream.flush()
            # A map on a file with holes would end the whole process where the disk is full. Not every system can reserve.
            stream.truncate(len(start) + max(count, 1))
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, len(start) + max(count, 1))
        array = _map(beside, shape, dtype, mode="r+")
        yield array
        if isinstance(array, np.memmap):
            array.flush()
        with beside.open("r+b") as stream:
            stream.truncate(len(start) + count)
            stream.write(_header(shape, dtype, _digest(beside, start)))


def opened(path: Path) -> np.ndarray | None:
    """The array at `path` [N, H], read-only; None where it is not there or damaged. It is read once, to check it, and not held."""
    try:
        with path.open("rb") as stream:
            told = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        rows, width = told[_NAME]["shape"]
        kinds = {name: dtype for dtype, name in _KINDS.items()}
        dtype = kinds[told[_NAME]["dtype"]]
        if _digest(path, _header((rows, width), dtype, _PLACE)) != told["__metadata__"]["sha256"]:
            return None
        return _map(path, (rows, width), dtype, mode="r")
    except (OSError, OverflowError, MemoryError, ValueError, KeyError, TypeError):
        return None


def _map(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], *, mode: Literal["r", "r+"]) -> np.ndarray:
    start = len(_header(shape, dtype, _PLACE))
    return np.memmap(path, dtype=dtype, mode=mode, offset=start, shape=shape) if np.prod(shape) else np.empty(shape, dtype)


def _digest(path: Path, start: bytes) -> str:
    """Of the header without its digest, then of the values: read piece by piece, as pages of a map would count as this process's memory."""
    total = hashlib.sha256(start)
    with path.open("rb") as stream:
        stream.seek(len(start))
        while piece := stream.read(_PIECE):
            total.update(piece)
    return total.hexdigest()


def _header(shape: tuple[int, int], dtype: np.dtype[Any], digest: str) -> bytes:
    """As long for one digest as for another."""
    count = int(np.prod(shape)) * dtype.itemsize
    told = {"__metadata__": {"sha256": digest}, _NAME: {"dtype": _KINDS[dtype], "shape": list(shape), "data_offsets": [0, count]}}
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
