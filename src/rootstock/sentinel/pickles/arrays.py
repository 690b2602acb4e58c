"""joblib's arrays: their bytes stand in the stream right behind the object that describes them, outside all opcodes."""

import re
from math import prod
from struct import error as StructError
from typing import Any

from rootstock.sentinel.findings import LimitReached
from rootstock.sentinel.pickles.literals import value
from rootstock.sentinel.pickles.machine import Broken, Machine, Made

WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
DTYPE = re.compile(r"[<>|=]?([?biufcSaUVOMm])(\d*)")


def is_wrapper(module: str, name: str) -> bool:
    """Whether a name is joblib's description of an array."""
    return (module, name) == WRAPPER


def skip(machine: Machine, made: Made, at: int) -> int:
    """Where the stream goes on after an array, in the window; 0 where none follows. at: of the BUILD that sets the description."""
    if made.by != ".".join(WRAPPER):
        return 0
    try:
        return _skip(machine, made, at)
    except (ValueError, TypeError, LookupError, StructError) as error:
        raise LimitReached("an array's description can't be read; the rest of the pickle was not scanned") from error


def _skip(machine: Machine, made: Made, at: int) -> int:
    state = _state(machine, made.state)
    start = machine.base + at + 1
    kind, item_bytes = _item(machine, state.get("dtype"))
    if kind == "O":
        return machine.spawn(start) - machine.base
    count = prod(_shape(machine, state.get("shape")))
    if "numpy_array_alignment_bytes" in state:
        start += 1 + machine.source.read(start, 1)[0]
    end = start + count * item_bytes
    if end > machine.source.size:
        raise Broken(f"an array claims {count * item_bytes:,} bytes, and {machine.source.size - start:,} follow")
    return end - machine.base


def _state(machine: Machine, node: int) -> dict[Any, int]:
    items = machine.inside(node) or ()
    return {value(machine.source, key): held for key, held in zip(items[::2], items[1::2], strict=False) if key >= 0}


def _shape(machine: Machine, node: int | None) -> list[int]:
    items = () if node is None or node >= 0 else machine.inside(node)
    numbers = [value(machine.source, each) for each in items or () if each >= 0]
    if items is None or len(numbers) < len(items) or not all(type(number) is int and number >= 0 for number in numbers):
        raise LimitReached("an array's shape can't be told; the rest of the pickle was not scanned")
    return numbers


def _item(machine: Machine, node: int | None) -> tuple[str, int]:
    """Letter of a dtype and bytes of one item."""
    made = machine.what(node) if node is not None else None
    text = value(machine.source, made.arguments[0]) if isinstance(made, Made) and made.arguments and made.arguments[0] >= 0 else ""
    found = DTYPE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise LimitReached("an array's dtype can't be told; the rest of the pickle was not scanned")
    letter, count = found[1], int(found[2] or 1)
    return letter, {"U": 4 * count, "M": 8, "m": 8, "O": 0}.get(letter, count)
