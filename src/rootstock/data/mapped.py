"""One large array on disk under the digest of all that made it: filled in any order, read through a memory map, whole or absent.

For arrays that memory need not hold. A file is safetensors with one tensor, whose metadata holds the digest of its values.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.core.artifact import digest_bytes, digest_json, whole_file
from rootstock.core.resources import cache_folder
from rootstock.core.rows import raw

_NAME = "states"
_KINDS = {np.dtype(np.float32): "F32", np.dtype(np.uint16): "BF16"}
"""numpy has no bf16: its 16 bits travel as whole numbers."""
_PLACE = "0" * 64


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
            # A map on a file with holes would end the whole process where the disk is full.
            os.posix_fallocate(stream.fileno(), 0, len(start) + max(count, 1))
        array = np.memmap(beside, dtype=dtype, mode="r+", offset=len(start), shape=shape) if count else np.empty(shape, dtype)
        yield array
        if isinstance(array, np.memmap):
            array.flush()
        with beside.open("r+b") as stream:
            stream.write(_header(shape, dtype, _digest(array)))
            stream.truncate(len(start) + count)


def opened(path: Path) -> np.ndarray | None:
    """The array at `path` [N, H], read-only; None where it is not there or damaged. It is read once, to check it, and not held."""
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            told = json.loads(stream.read(size))
        shape = tuple(told[_NAME]["shape"])
        dtype = next(dtype for dtype, name in _KINDS.items() if name == told[_NAME]["dtype"])
        array = np.memmap(path, dtype=dtype, mode="r", offset=8 + size, shape=shape) if np.prod(shape) else np.empty(shape, dtype)
        return array if _digest(array) == told["__metadata__"]["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def _digest(array: np.ndarray) -> str:
    return digest_bytes(f"{array.dtype} {array.shape}".encode(), raw(array))


def _header(shape: tuple[int, int], dtype: np.dtype[Any], digest: str) -> bytes:
    """As long for one digest as for another."""
    count = int(np.prod(shape)) * dtype.itemsize
    told = {"__metadata__": {"sha256": digest}, _NAME: {"dtype": _KINDS[dtype], "shape": list(shape), "data_offsets": [0, count]}}
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
