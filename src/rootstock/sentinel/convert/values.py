"""What a checkpoint's stream becomes when nothing in it is run: tensors as places in the file, and the rest as inert objects."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.safetensors import BITS
from rootstock.sentinel.source import Source

STORAGES = {
    **{"Float": "F32", "Double": "F64", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32", "Short": "I16", "Char": "I8"},
    **{"Byte": "U8", "Bool": "BOOL", "ComplexFloat": "C64", "Untyped": "U8"},
}
"""torch's kinds of storage and what safetensors calls their numbers."""

TORCH = {
    **{"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16"},
    **{"int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL", "complex64": "C64"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0"},
}
NUMPY = {
    **{"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u8": "U64", "u4": "U32", "u2": "U16"},
    **{"u1": "U8", "b1": "BOOL", "?": "BOOL", "c8": "C64"},
}


def width(dtype: str) -> int:
    """Bytes of a number."""
    return BITS[dtype] // 8


@dataclass(frozen=True)
class Name:
    """An import that was not carried out."""

    module: str
    name: str


@dataclass
class Inert:
    """An object that was not made: what it would be made by, and the state that it would be given."""

    by: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """Bytes that stay in the file."""

    source: Source
    offset: int
    size: int

    def read(self, offset: int, count: int) -> bytes:
        """Some of them."""
        return self.source.read(self.offset + offset, min(count, self.size - offset))


@dataclass
class Storage:
    """torch's storage. data: found when the whole file has been read; begin: first byte of it within that."""

    dtype: str
    key: str
    count: int
    data: Span | None = None
    begin: int = 0


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: strides and offset count in numbers of the dtype."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(type(each) is int and each >= 0 for each in numbers):
            raise Malformed("a tensor's offset, shape or strides are no natural numbers")

    @property
    def width(self) -> int:
        """Bytes of one number."""
        return width(self.dtype)

    @property
    def bytes(self) -> int:
        """Bytes of the tensor when it is written in order."""
        return prod(self.shape) * self.width

    @property
    def reach(self) -> int:
        """Numbers of the storage from the offset to the last one that is used."""
        return 0 if 0 in self.shape else 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    @property
    def in_order(self) -> bool:
        """Whether the numbers lie in the file as they are written."""
        expected = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True


def of_array(data: Span, descr: str, shape: tuple[int, ...], *, columns_first: bool) -> Tensor | Inert:
    """A numpy array as a tensor; inert where safetensors has no such numbers."""
    dtype = NUMPY.get(descr.lstrip("<|="))
    if dtype is None:
        return Inert(f"an array of {descr}")
    count = prod(shape)
    if count * width(dtype) > data.size:
        raise Malformed(f"an array of shape {shape} needs more than its {data.size:,} bytes", offset=data.offset)
    strides, step = [], 1
    for n in shape if columns_first else reversed(shape):
        strides.append(step)
        step *= n
    ordered = tuple(strides if columns_first else reversed(strides))
    return Tensor(Storage(dtype, "", count, data), dtype, 0, shape, ordered)
