"""Arrays on disk under the digest of all that made them; whole or absent, checked when read.

The key holds digests of content (rows, tokenizer, base) and every option, so a stale entry can't be met: a change is another key.
An entry is a safetensors file whose metadata holds the digest of its arrays. Writing copies none of them, as images may take a large
part of the memory.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rootstock.core.artifact import digest_bytes, digest_json, whole_file
from rootstock.core.errors import WriteFailed
from rootstock.core.resources import cache_folder
from rootstock.core.rows import raw

Arrays = dict[str, np.ndarray]
_DIGEST = "sha256"


def remembered(kind: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> tuple[Arrays, bool]:
    """The arrays under this key, made and kept where they are not there yet; and whether they were there.

    A damaged entry is made again. A cache that can't be written is no reason to fail: the arrays are returned all the same.
    """
    found = recall(kind, key)
    if found is not None:
        return found, True
    arrays = _ordered(make())
    try:
        with whole_file(_path(kind, key)) as beside:
            save_file(arrays, beside, metadata={_DIGEST: _digest(arrays)})
    except WriteFailed:
        return arrays, False
    return arrays, False


def recall(kind: str, key: Mapping[str, Any]) -> Arrays | None:
    """The arrays under this key, or None where they are not there or damaged."""
    path = _path(kind, key)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as held:
            arrays = {name: held.get_tensor(name) for name in sorted(held.keys())}
            told = (held.metadata() or {}).get(_DIGEST)
    except SafetensorError:
        return None
    return arrays if _digest(arrays) == told else None


def _path(kind: str, key: Mapping[str, Any]) -> Path:
    return cache_folder() / kind / digest_json(dict(key))


def _digest(arrays: Arrays) -> str:
    """Of names, kinds, shapes and values."""
    told = digest_json([[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()])
    return digest_bytes(told.encode(), *map(raw, arrays.values()))


def _ordered(arrays: Arrays) -> Arrays:
    """By name, as digests of the arrays go by their order; in one piece each, as they are written."""
    return {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
