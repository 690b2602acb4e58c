"""Arrays of numpy: .npy files, alone or as members of .npz; object arrays hold a pickle."""

import ast
import re
from collections.abc import Iterator
from math import prod
from typing import Any

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.source import Probe, Source

MAGIC = b"\x93NUMPY"
HEADER_BYTES = 1 << 20
ITEM = re.compile(r"[<>|=]?([?biufcSaUVOMm])(\d*)(?:\[.*\])?")


def recognises(probe: Probe) -> bool:
    """By magic."""
    return probe.head.startswith(MAGIC)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The header against the bytes that follow; an object array's pickle."""
    content, start = header(source)
    shape, items = content.get("shape"), list(_item_bytes(content.get("descr")))
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Malformed("its shape is no tuple of numbers", offset=10)
    if None in items:
        yield finding("numpy-object-array", source, "an array of Python objects: its content is a pickle", offset=start)
        yield from context.nested(source.part(start, source.size - start, member="objects"))
        return
    needed, there = prod(shape) * sum(each or 0 for each in items), source.size - start
    if needed != there:
        raise Malformed(f"its shape {shape} needs {needed:,} bytes, and {there:,} follow", rule_id="numpy-size", offset=start)


def header(source: Source) -> tuple[dict[str, Any], int]:
    """The header, read as a literal and never evaluated, and where the data begins."""
    version = source.read(6, 2)
    width = 2 if version[:1] == b"\x01" else 4
    if version not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise Malformed(f"there is no version {tuple(version)} of numpy's format", offset=6)
    length = int.from_bytes(source.read(8, width), "little")
    if length > min(HEADER_BYTES, source.size):
        raise Malformed(f"its header claims {length:,} bytes", offset=8)
    raw = source.read(8 + width, length)
    try:
        content = ast.literal_eval(raw.decode("utf-8" if version[0] == 3 else "latin-1").strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Malformed("its header is no literal: numpy would refuse it, and older readers evaluate it", offset=10) from error
    if not isinstance(content, dict):
        raise Malformed("its header is no dictionary", offset=10)
    return content, 8 + width + length


def _item_bytes(descr: Any) -> Iterator[int | None]:
    """Bytes of each field; None for one that holds objects."""
    if isinstance(descr, str):
        found = ITEM.fullmatch(descr)
        if not found:
            raise Malformed(f"its dtype {descr[:60]!r} is unknown", offset=10)
        count = int(found[2] or 1)
        yield None if found[1] == "O" else {"U": 4 * count, "M": 8, "m": 8, "?": 1}.get(found[1], count)
    elif isinstance(descr, list | tuple) and descr and isinstance(descr[0], tuple | list):
        for field in descr:
            times = prod(field[2]) if len(field) > 2 else 1
            for inner in _item_bytes(field[1]):
                yield None if inner is None else inner * times
    elif isinstance(descr, tuple) and len(descr) == 2:
        for inner in _item_bytes(descr[0]):
            yield None if inner is None else inner * (prod(descr[1]) if isinstance(descr[1], tuple) else 1)
    else:
        raise Malformed("its dtype is no description", offset=10)
