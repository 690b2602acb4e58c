"""Strict reading of a .safetensors header: every byte of the file is accounted for, or the file is refused.

Stricter than the loaders: names that occur twice are an error here, while the reference loader lets the last one win.
"""

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

from rootstock.core.errors import BaseError
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.source import Source, of_file

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
    try:
        _, tensors = parse(of_file(path))
        _check_cover(_spans(tensors), path.stat().st_size - data_start(of_file(path)))
    except Malformed as damage:
        raise BaseError(
            f"{path} is damaged: {damage.what}", wanted="a complete safetensors file", fix="fetch or save the file again"
        ) from damage
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in tensors.items()}


def parameters(shapes: Shapes) -> int:
    """Number of weights: integer tensors are buffers such as position ids."""
    return sum(prod(shape) for dtype, shape in shapes.values() if dtype.startswith(("F", "BF", "C")))


def data_start(source: Source) -> int:
    """Where the header ends. Raises Malformed for a length that the file does not have."""
    length = int.from_bytes(source.read(0, 8), "little")
    if source.size < 8 or length > min(source.size - 8, MAX_HEADER_BYTES):
        most = max(0, min(source.size - 8, MAX_HEADER_BYTES))
        raise _damaged(f"its header claims {length} bytes; at most {most} are possible in a file of {source.size}", 0)
    return 8 + length


def parse(source: Source) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata, and the entry of every tensor with its dtype, shape and data_offsets. Raises Malformed for a header that is none."""
    raw = source.read(8, data_start(source) - 8)
    if raw[:1].isspace():
        raise _damaged("its header begins with white space, and not with its brace", 8)
    try:
        tensors = json.loads(raw.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(f"its header is not valid JSON ({error})", 8) from error
    if not isinstance(tensors, dict):
        raise _damaged("its header is not a JSON object", 8)
    metadata = tensors.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged("its __metadata__ is not a map of texts", 8)
    return metadata, tensors


def check(source: Source, tensors: dict[str, Any]) -> None:
    """Raises Malformed where the entries do not describe exactly the bytes that the file has."""
    _check_cover(_spans(tensors), source.size - data_start(source))


def uncovered(source: Source, tensors: dict[str, Any]) -> list[tuple[int, int]]:
    """Offset and length of every stretch of the file that no tensor covers."""
    start = position = data_start(source)
    holes = []
    spans = [entry["data_offsets"] for entry in tensors.values() if isinstance(entry, dict) and _naturals(entry.get("data_offsets"))]
    for begin, end in sorted(each for each in spans if len(each) == 2):
        if start + begin > position:
            holes.append((position, min(start + begin, source.size) - position))
        position = max(position, start + end)
    return [*holes, *([(position, source.size - position)] if position < source.size else [])]


def _no_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} occurs twice")
        result[key] = value
    return result


def _spans(tensors: dict[str, Any]) -> list[tuple[int, int, str]]:
    return [(*_span(name, entry), name) for name, entry in tensors.items()]


def _span(name: str, entry: Any) -> tuple[int, int]:
    """First byte and end of one tensor within the data."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(f"tensor {name!r} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _damaged(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise _damaged(f"tensor {name!r} has a shape or offsets that are not natural numbers")
    begin, end = offsets
    if prod(shape) * BITS[dtype] != (end - begin) * 8:
        needed = prod(shape) * BITS[dtype] // 8
        raise _damaged(f"tensor {name!r} of shape {shape} and dtype {dtype} needs {needed} bytes, its offsets give {end - begin}")
    return begin, end


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_cover(spans: list[tuple[int, int, str]], available: int) -> None:
    """The tensors must tile the data: no hole in which something hides, no overlap, no end beyond or before the file's."""
    promised = max((end for _, end, _ in spans), default=0)
    if promised > available:
        raise _damaged(f"truncated: the header promises {promised} bytes of tensors, the file has {available}")
    if promised < available:
        raise _damaged(f"{available - promised} bytes follow the last tensor")
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            what = "overlaps the one before" if begin < position else "leaves a hole before it"
            raise _damaged(f"tensor {name!r} {what} (starts at byte {begin}, expected {position})")
        position = end


def _damaged(what: str, offset: int | None = None) -> Malformed:
    return Malformed(what, rule_id="safetensors-layout", offset=offset)
