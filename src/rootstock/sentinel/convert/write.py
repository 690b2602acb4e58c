"""Tensors as one safetensors file, copied number by number out of the files that they lie in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rootstock.sentinel.convert.values import Tensor
from rootstock.sentinel.findings import Malformed

CHUNK = 1 << 22


def safetensors(path: Path, tensors: dict[str, Tensor], framework: str) -> None:
    """Write them, widest numbers first, as the reference writer does, so that each begins where its numbers are aligned."""
    order = sorted(tensors, key=lambda name: (-tensors[name].width, name))
    header: dict[str, object] = {"__metadata__": {"format": framework}}
    at = 0
    for name in order:
        tensor = tensors[name]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.bytes]}
        at += tensor.bytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            _copy(tensors[name], stream)


def _copy(tensor: Tensor, stream: BinaryIO) -> None:
    for chunk in _chunks(tensor):
        stream.write(chunk)


def _chunks(tensor: Tensor) -> Iterator[bytes]:
    data, width = tensor.storage.data, tensor.width
    if data is None:
        raise Malformed("a tensor has no numbers")
    start = tensor.storage.begin + tensor.offset * width
    if tensor.in_order:
        for at in range(0, tensor.bytes, CHUNK):
            yield data.read(start + at, min(CHUNK, tensor.bytes - at))
    elif tensor.bytes:
        import numpy as np

        raw = np.frombuffer(data.read(start, tensor.reach * width), dtype=f"V{width}")
        yield np.lib.stride_tricks.as_strided(raw, tensor.shape, [stride * width for stride in tensor.strides]).tobytes()
