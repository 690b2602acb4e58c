"""Strict reading of a .safetensors header: every byte of the file is accounted for, or the file is refused.

Stricter than the loaders: names that occur twice are an error here, while the reference loader lets the last one win.
"""

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

from rootstock.core.errors import BaseError

Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Tensor name to dtype and shape."""

MAX_HEADER_BYTES = 100_000_000
"""The limit of the reference loader."""

BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


def header(path: Path) -> Shapes:
    """Dtype and shape of every tensor; reads the header only.

    Raises BaseError where the header is malformed, or does not describe exactly the bytes that the file has.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            most = max(0, min(size - 8, MAX_HEADER_BYTES))
            raise _damaged(path, f"its header claims {length} bytes; at most {most} are possible in a file of {size}")
        tensors = _parse(path, stream.read(length))
    spans = [(*_span(path, name, entry), name) for name, entry in tensors.items()]
    _check_cover(path, spans, size - 8 - length)
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in tensors.items()}


def parameters(shapes: Shapes) -> int:
    """Number of weights: integer tensors are buffers such as position ids."""
    return sum(prod(shape) for dtype, shape in shapes.values() if dtype.startswith(("F", "BF", "C")))


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        tensors = json.loads(raw.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not valid JSON ({error})") from error
    if not isinstance(tensors, dict):
        raise _damaged(path, "its header is not a JSON object")
    metadata = tensors.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "its __metadata__ is not a map of texts")
    return tensors


def _no_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} occurs twice")
        result[key] = value
    return result


def _span(path: Path, name: str, entry: Any) -> tuple[int, int]:
    """First byte and end of one tensor within the data."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"tensor {name!r} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _damaged(path, f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise _damaged(path, f"tensor {name!r} has a shape or offsets that are not natural numbers")
    begin, end = offsets
    if prod(shape) * BITS[dtype] != (end - begin) * 8:
        needed = prod(shape) * BITS[dtype] // 8
        raise _damaged(path, f"tensor {name!r} of shape {shape} and dtype {dtype} needs {needed} bytes, its offsets give {end - begin}")
    return begin, end


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_cover(path: Path, spans: list[tuple[int, int, str]], available: int) -> None:
    """The tensors must tile the data: no hole in which something hides, no overlap, no end beyond or before the file's."""
    promised = max((end for _, end, _ in spans), default=0)
    if promised > available:
        raise _damaged(path, f"truncated: the header promises {promised} bytes of tensors, the file has {available}")
    if promised < available:
        raise _damaged(path, f"{available - promised} bytes follow the last tensor")
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            what = "overlaps the one before" if begin < position else "leaves a hole before it"
            raise _damaged(path, f"tensor {name!r} {what} (starts at byte {begin}, expected {position})")
        position = end


def _damaged(path: Path, what: str) -> BaseError:
    return BaseError(f"{path} is damaged: {what}", wanted="a complete safetensors file", fix="fetch or save the file again")
