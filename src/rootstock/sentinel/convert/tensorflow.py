"""Variables of a TensorFlow checkpoint (tensor bundle: NAME.index and NAME.data-00000-of-00001), without TensorFlow.

The index is a sorted table: "" leads to the bundle's header, each name to its dtype, shape, shard, offset and size
(tensorflow/core/protobuf/tensor_bundle.proto). Numbers are copied as they lie; what is no array of numbers is left out and named: texts,
the object graph, variables that are kept in slices. Checksums of the index are held to it, those of the numbers are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from rootstock.sentinel.convert.checkpoint import Content
from rootstock.sentinel.convert.values import Span, Storage, Tensor, width
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.parse import sstable
from rootstock.sentinel.parse.protobuf import FIXED32, VARINT, Message
from rootstock.sentinel.parse.window import Window
from rootstock.sentinel.source import Source, of_bytes, of_file

INDEX = ".index"
_DTYPES = {
    **{1: "F32", 2: "F64", 3: "I32", 4: "U8", 5: "I16", 6: "I8", 8: "C64", 9: "I64", 10: "BOOL", 14: "BF16", 17: "U16", 19: "F16"},
    **{22: "U32", 23: "U64", 24: "F8_E5M2", 25: "F8_E4M3"},
}
"""TensorFlow's numbers of dtypes that safetensors has."""
_OTHERS = {7: "texts", 18: "complex128", 20: "a resource", 21: "a variant"}
_MOST_SHARDS, _MOST_AXES = 100_000, 32


@dataclass(frozen=True)
class _Entry:
    """A tensor of the index."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    sliced: bool


def index_of(path: Path) -> Path | None:
    """The index that a path means: itself, or that of a checkpoint's name, a folder with one checkpoint, or a SavedModel."""
    if path.is_file():
        return path if sstable.recognises(of_file(path)) else None
    named = path.with_name(path.name + INDEX)
    if named.is_file():
        return named
    held = [*path.glob(f"*{INDEX}"), *path.glob(f"variables/*{INDEX}")] if path.is_dir() else []
    return held[0] if len(held) == 1 else None


def read(index: Path) -> tuple[Content, list[Path]]:
    """The tensors, and the files that they lie in. Raises Malformed where the index or a shard is none, or one is missing."""
    table = sstable.entries(of_file(index))
    key, value = next(table, (b"x", b""))
    if key != b"":
        raise Malformed("it has no header of a tensor bundle: a checkpoint of TensorFlow 0 or 1's first form, or another kind of table")
    shards = _shards(value)
    opened: dict[int, Source] = {}
    tensors: dict[str, Tensor] = {}
    left_out: list[tuple[str, str]] = []
    for key, value in table:
        name = key.decode("utf-8", "backslashreplace")
        entry = _entry(value)
        if b"\0" in key:
            continue  # a slice: its variable has an entry of its own, which is named
        if entry.sliced or entry.dtype not in _DTYPES:
            left_out.append((name, "a variable in slices" if entry.sliced else _OTHERS.get(entry.dtype, f"of dtype {entry.dtype}")))
            continue
        tensors[name] = _tensor(name, entry, _shard(index, entry.shard, shards, opened))
    return Content(tensors, tuple(left_out), "tf"), [index, *(_place(index, number, shards) for number in sorted(opened))]


def _shards(header: bytes) -> int:
    """How many files hold the numbers. Raises Malformed for big-endian ones."""
    values = {field.number: field.value for field in _message(header).fields() if field.wire == VARINT}
    if values.get(2, 0) != 0:
        raise Malformed("its numbers are in another byte order than little")
    count = values.get(1, 1)
    if not 0 < count <= _MOST_SHARDS:
        raise Malformed(f"its header names {count:,} files")
    return count


def _entry(value: bytes) -> _Entry:
    dtype = shard = offset = size = 0
    shape: tuple[int, ...] = ()
    sliced = False
    for field in (message := _message(value)).fields():
        if field.wire == VARINT:
            dtype, shard, offset, size = (
                field.value if field.number == at else old for at, old in ((1, dtype), (3, shard), (4, offset), (5, size))
            )
        elif field.number == 2 and field.wire != FIXED32:
            shape = tuple(_axes(message.inner(field)))
        elif field.number == 7:
            sliced = True
    return _Entry(dtype, shape, shard, offset, size, sliced)


def _axes(shape: Message) -> Iterator[int]:
    """TensorShapeProto: dim is field 2, its size field 1; no size is written for 0."""
    for number, axis in enumerate(shape.of(2)):
        size = next((field.value for field in axis.fields() if field.number == 1 and field.wire == VARINT), 0)
        if size >= 1 << 48 or number >= _MOST_AXES:
            raise Malformed(f"a shape with an axis of {size:,}, or more than {_MOST_AXES} of them")
        yield size


def _place(index: Path, number: int, shards: int) -> Path:
    return index.with_name(f"{index.name.removesuffix(INDEX)}.data-{number:05d}-of-{shards:05d}")


def _shard(index: Path, number: int, shards: int, opened: dict[int, Source]) -> Source:
    if number >= shards:
        raise Malformed(f"a tensor lies in file {number} of {shards}")
    if number not in opened:
        place = _place(index, number, shards)
        if not place.is_file():
            raise Malformed(f"{place.name} is not beside it")
        opened[number] = of_file(place)
    return opened[number]


def _tensor(name: str, entry: _Entry, shard: Source) -> Tensor:
    dtype = _DTYPES[entry.dtype]
    count = prod(entry.shape)
    if count * width(dtype) != entry.size:
        raise Malformed(f"{name!r} of shape {entry.shape} has {entry.size:,} bytes")
    if entry.offset + entry.size > shard.size:
        raise Malformed(f"{name!r} reaches beyond its file")
    strides, step = [], 1
    for n in reversed(entry.shape):
        strides.append(step)
        step *= n
    return Tensor(Storage(dtype, "", count, Span(shard, entry.offset, entry.size)), dtype, 0, entry.shape, tuple(reversed(strides)))


def _message(data: bytes) -> Message:
    return Message(Window(of_bytes(data, path="")), 0, len(data))
