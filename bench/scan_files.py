"""Large files of the formats that weights come in, for the speed of scanners: random numbers in real containers.

python bench/scan_files.py FOLDER/NAME      # makes the file of that name, as in FILES
"""

import os
import pickle
import struct
import sys
from pathlib import Path


def many(path):
    """A pickle of many small objects: some 31 MB of opcodes."""
    rows = [{"id": i, "name": f"n{i % 1000}", "w": [i * 0.5, i % 7, None], "ok": True, "t": (i, i + 1)} for i in range(300_000)]
    path.write_bytes(pickle.dumps(rows, protocol=4))


def long(path):
    """A pickle of a few long byte strings."""
    with path.open("wb") as stream:
        pickle.dump([os.urandom(1 << 20) for _ in range(128)], stream, protocol=4)


def small(path):
    """What a start costs."""
    path.write_bytes(pickle.dumps({"a": [1, 2, 3]}))


def tensors():
    """64 matrices of 1,024 x 1,024."""
    import torch

    return {f"layers.{number}.weight": torch.randn(1024, 1024) for number in range(64)}


def zipped(path):
    """A state dict as torch saves it."""
    import torch

    torch.save(tensors(), path)


def safe(path):
    """The same as safetensors."""
    from safetensors.torch import save_file

    save_file(tensors(), path, metadata={"format": "pt"})


def gguf(path):
    """The same as GGUF 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    held = tensors()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(held), 1) + text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for number, name in enumerate(held):
        head += text(name) + struct.pack("<IQQIQ", 2, 1024, 1024, 0, number << 22)
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(value.numpy().tobytes() for value in held.values()))


def onnx(path):
    """The same as the initializers of an ONNX graph of one node, by the numbers of onnx.proto."""

    def varint(value):
        parts = bytearray()
        while value > 127:
            parts.append(value & 127 | 128)
            value >>= 7
        return bytes(parts) + bytes([value])

    def number(place, value):
        return varint(place << 3) + varint(value)

    def held(place, content):
        return varint(place << 3 | 2) + varint(len(content)) + content

    node = held(1, b"x") + held(2, b"y") + held(3, b"same") + held(4, b"Identity")
    shape = held(2, held(1, number(1, 1024)) + held(1, number(1, 1024)))
    ends = [held(1, name) + held(2, held(1, number(1, 1) + shape)) for name in (b"x", b"y")]
    weights = [
        number(1, 1024) + number(1, 1024) + number(2, 1) + held(8, name.encode()) + held(9, value.numpy().tobytes())
        for name, value in tensors().items()
    ]
    graph = held(1, node) + held(2, b"graph") + b"".join(held(5, each) for each in weights) + held(11, ends[0]) + held(12, ends[1])
    path.write_bytes(number(1, 8) + held(7, graph) + held(8, number(2, 17)))


FILES = {
    "many.pkl": many,
    "long.pkl": long,
    "small.pkl": small,
    "weights.pt": zipped,
    "weights.safetensors": safe,
    "weights.gguf": gguf,
    "weights.onnx": onnx,
}

if __name__ == "__main__":
    FILES[Path(sys.argv[1]).name](Path(sys.argv[1]))
