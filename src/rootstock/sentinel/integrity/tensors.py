"""Numbers of a safetensors file by memory map, a block at a time, as float64 or as they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.sentinel import safetensors
from rootstock.sentinel.source import of_file

BLOCK = 1 << 20
"""Numbers that are looked at together."""
_KINDS = {
    "BOOL": "u1",
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    "BF16": "<u2",
}
ROUNDING = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}
"""Relative error of one stored number."""


@dataclass(frozen=True)
class Stored:
    """One tensor where it lies. start: its first byte in the file."""

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Count of numbers."""
        return prod(self.shape)

    @property
    def readable(self) -> bool:
        """Whether numpy has this type, or can be helped to it: not so for 8 bits and fewer of floating point."""
        return self.dtype in _KINDS

    @property
    def floating(self) -> bool:
        """Whether it holds fractions."""
        return self.dtype in ROUNDING

    def rows(self) -> np.ndarray:
        """All of it as [rows, width], raw and mapped, not read."""
        width = self.shape[-1] if len(self.shape) > 1 else 1
        kind = np.dtype(_KINDS[self.dtype])
        if not self.size:
            return np.empty((0, width or 1), kind)
        return np.memmap(self.path, kind, "r", self.start, (self.size // width, width))

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and numbers of each block, [rows, width]: floating ones as float32 or float64, others as they are."""
        rows = self.rows()
        count = max(1, BLOCK // rows.shape[1])
        for first in range(0, len(rows), count):
            yield first, widened(np.asarray(rows[first : first + count]), self.dtype)


def widened(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers that numpy can reckon with: bf16 is the upper half of a float32."""
    if dtype == "BF16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.astype(np.float32) if dtype == "F16" else raw


def stored(path: Path) -> dict[str, Stored]:
    """Every tensor of a file. Raises Malformed where the header does not describe exactly the bytes that are there."""
    source = of_file(path)
    _, entries = safetensors.parse(source)
    safetensors.check(source, entries)
    start = safetensors.data_start(source)
    return {name: _stored(name, path, start, entry) for name, entry in entries.items()}


def _stored(name: str, path: Path, start: int, entry: dict[str, Any]) -> Stored:
    return Stored(name, path, entry["dtype"], tuple(entry["shape"]), start + entry["data_offsets"][0])
