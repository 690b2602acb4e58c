"""Tensors of checkpoint files by name: torch's zip and legacy files, numpy's arrays, joblib's and plain pickles."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from rootstock.sentinel.context import Context
from rootstock.sentinel.convert.stream import Stream
from rootstock.sentinel.convert.values import Inert, Span, Storage, Tensor, of_array
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.formats import compressed, numpy
from rootstock.sentinel.formats import zip as zips
from rootstock.sentinel.source import Source

MAGIC = 0x1950A86A20F9469CFC6C
DEEP = 64
MOST = 2_000_000
"""Values of one checkpoint; the largest of them hold some thousand tensors."""


@dataclass(frozen=True)
class Content:
    """Tensors by name, what was left out (name, what it is), and the metadata that loaders ask for."""

    tensors: dict[str, Tensor]
    left_out: tuple[tuple[str, str], ...]
    framework: str


def read(source: Source, context: Context) -> Content:
    """Raises Malformed where the file is none of these, is damaged, or says two things at once."""
    head = source.probe.head
    if compressed.recognises(source.probe):
        return read(compressed.inside(source, context), context)
    if zips.recognises(source.probe) and head.startswith(b"PK"):
        return _zip(source, context)
    if numpy.recognises(source.probe):
        return _flat({"tensor": _array(source)}, "np")
    first = Stream(source)
    value = first.read()
    if value == MAGIC:
        return _legacy(source, first.position)
    return _flat(value, "pt" if first.storages else "np")


def _zip(source: Source, context: Context) -> Content:
    members = zips.members(source, context)
    arrays = {name.removesuffix(".npy"): inner for name, inner in members.items() if numpy.recognises(inner.probe)}
    stream = next((name for name in members if name.rpartition("/")[2] == "data.pkl"), "")
    if not stream:
        return _flat({name: _array(inner) for name, inner in arrays.items()}, "np")
    root = stream.removesuffix("data.pkl")
    if f"{root}byteorder" in members and members[f"{root}byteorder"].read(0, 16) != b"little":
        raise Malformed("its numbers are in another byte order than little")
    reading = Stream(members[stream])
    value = reading.read()
    data = {
        name.removeprefix(f"{root}data/"): Span(inner, 0, inner.size) for name, inner in members.items() if name.startswith(f"{root}data/")
    }
    _fill(reading.storages, data)
    return _flat(value, "pt")


def _legacy(source: Source, position: int) -> Content:
    """Magic, version, system, the object, the keys of the storages; then for each a count and its numbers."""
    streams = [Stream(source, position)]
    values = [streams[0].read()]
    for _ in range(3):
        streams.append(Stream(source, streams[-1].position))
        values.append(streams[-1].read())
    _, system, value, keys = values
    if not isinstance(system, dict) or system.get("little_endian") is not True or not isinstance(keys, list):
        raise Malformed("its records are not torch's, or in another byte order than little")
    widths = {each.key: Tensor(each, each.dtype, 0, (), ()).width for each in streams[2].storages}
    data, at = {}, streams[-1].position
    for key in keys:
        size = int.from_bytes(source.read(at, 8), "little") * widths.get(key, 1)
        if key not in widths or at + 8 + size > source.size:
            raise Malformed(f"the storage {key!r} is not used, or ends beyond the file", offset=at)
        data[key] = Span(source, at + 8, size)
        at += 8 + size
    _fill(streams[2].storages, data)
    return _flat(value, "pt")


def _fill(storages: list[Storage], data: dict[str, Span]) -> None:
    for each in storages:
        if each.key not in data:
            raise Malformed(f"the numbers of the storage {each.key!r} are missing")
        each.data = data[each.key]


def _array(source: Source) -> Any:
    header, start = numpy.header(source)
    descr, shape = header.get("descr"), header.get("shape")
    if not isinstance(descr, str) or not isinstance(shape, tuple):
        return Inert("an array of records")
    if "O" in descr:
        return Inert("an array of objects")
    data = Span(source, start, source.size - start)
    return of_array(data, descr, shape, columns_first=header.get("fortran_order") is True)


def _flat(value: Any, framework: str) -> Content:
    tensors: dict[str, Tensor] = {}
    left_out: list[tuple[str, str]] = []
    for name, leaf in _leaves(value):
        if isinstance(leaf, Tensor):
            if name in tensors:
                raise Malformed(f"two tensors would be called {name!r}")
            _check(name, leaf)
            tensors[name or "tensor"] = leaf
        else:
            left_out.append((name, leaf.by if isinstance(leaf, Inert) else type(leaf).__name__))
    return Content(tensors, tuple(left_out), framework)


def _check(name: str, tensor: Tensor) -> None:
    data, width = tensor.storage.data, tensor.width
    if data is None or tensor.storage.begin + (tensor.offset + tensor.reach) * width > data.size:
        raise Malformed(f"the tensor {name!r} reaches beyond its storage")
    if prod(tensor.shape) > max(1 << 28, 64 * tensor.reach):
        raise Malformed(f"the tensor {name!r} repeats its numbers {prod(tensor.shape):,} times")


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values in the order of the file. A bomb of shared parts ends at a count of steps."""
    waiting, steps = [("", value, 0)], 0
    while waiting:
        name, each, depth = waiting.pop()
        steps += 1
        if depth > DEEP or steps > MOST:
            raise Malformed(f"{name[:80]!r} is nested more than {DEEP} deep, or beyond {MOST:,} values")
        further = [(f"{name}.{key}" if name and key else name or key, inner, depth + 1) for key, inner in _inside(each)]
        waiting += reversed(further)
        if not further and not isinstance(each, dict | list | tuple) and not (isinstance(each, Inert) and each.state == {}):
            yield name, each


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values one step further in; a module of torch by its parameters, buffers and modules."""
    if isinstance(value, dict):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from ((str(i), inner) for i, inner in enumerate(value))
    elif isinstance(value, Inert):
        yield from ((str(key), inner) for key, inner in value.items.items())
        state = value.state if isinstance(value.state, dict) else {}
        module = [state[part] for part in ("_parameters", "_buffers", "_modules") if isinstance(state.get(part), dict)]
        for part in module if len(module) == 3 else [state]:
            yield from ((str(key), inner) for key, inner in part.items() if inner is not None)
