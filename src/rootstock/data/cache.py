"""Arrays on disk under the digest of all that made them; whole or absent, checked when read.

The key holds digests of content (rows, tokenizer, base) and every option, so a stale entry can't be met: a change is another key.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from rootstock.core.artifact import digest_json, write_bytes
from rootstock.core.errors import WriteFailed
from rootstock.core.resources import cache_folder

Arrays = dict[str, np.ndarray]


def remembered(kind: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> tuple[Arrays, bool]:
    """The arrays under this key, made and kept where they are not there yet; and whether they were there.

    A damaged entry is made again. A cache that can't be written is no reason to fail: the arrays are returned all the same.
    """
    found = recall(kind, key)
    if found is not None:
        return found, True
    path = _path(kind, key)
    arrays = _ordered(make())
    try:
        payload = save(arrays)
        write_bytes(path, hashlib.sha256(payload).digest() + payload)
    except WriteFailed:
        return arrays, False
    return arrays, False


def recall(kind: str, key: Mapping[str, Any]) -> Arrays | None:
    """The arrays under this key, or None where they are not there or damaged."""
    return _read(_path(kind, key))


def _path(kind: str, key: Mapping[str, Any]) -> Path:
    return cache_folder() / kind / digest_json(dict(key))


def _read(path: Path) -> Arrays | None:
    if not path.exists():
        return None
    held = path.read_bytes()
    digest, payload = held[:32], held[32:]
    return _ordered(load(payload)) if hashlib.sha256(payload).digest() == digest else None


def _ordered(arrays: Arrays) -> Arrays:
    """By name, as digests of the arrays go by their order: safetensors gives them back in another one each time."""
    return dict(sorted(arrays.items()))
