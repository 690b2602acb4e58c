"""What the known builders of tensors and arrays would give, computed here without them; every other call stays inert."""

import re
from collections.abc import Callable
from math import prod
from typing import Any

from rootstock.sentinel.convert.values import STORAGES, TORCH, Inert, Name, Span, Storage, Tensor, of_array, width
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.source import Source, of_bytes

PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


def call(callee: Any, arguments: Any) -> Any:
    """The value of a call. Raises Malformed where a known builder's arguments are wrong."""
    if not isinstance(callee, Name):
        return Inert("a call of an object")
    full = f"{callee.module}.{callee.name}"
    arguments = arguments if isinstance(arguments, tuple) else ()
    known = KNOWN.get(full)
    try:
        return known(arguments) if known else Inert(full, arguments)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise Malformed(f"{full} is called with arguments that it does not take") from error


def _tensor(arguments: tuple[Any, ...]) -> Any:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage):
        return Inert("a tensor of no storage")
    return Tensor(storage, storage.dtype, offset, _numbers(shape), _numbers(strides))


def _tensor_3(arguments: tuple[Any, ...]) -> Any:
    """With a dtype of its own, on an untyped storage; arguments: storage, offset, shape, strides, grad, hooks, dtype."""
    storage, offset, shape, strides, _, _, dtype = arguments[:7]
    if not isinstance(storage, Storage) or not isinstance(dtype, Name) or dtype.name not in TORCH:
        return Inert("a tensor of a dtype that safetensors has not")
    return Tensor(storage, TORCH[dtype.name], offset, _numbers(shape), _numbers(strides))


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value.arguments[0] if isinstance(value, Inert) and value.by == "torch.Size" else value)


def _parameter(arguments: tuple[Any, ...]) -> Any:
    return arguments[0]


def _from_type(arguments: tuple[Any, ...]) -> Any:
    """_rebuild_from_type_v2: function, type, arguments, state."""
    return call(arguments[0], arguments[2])


def _mapping(arguments: tuple[Any, ...]) -> Any:
    pairs = arguments[0] if arguments else ()
    return dict(pairs.items() if isinstance(pairs, dict) else ((key, value) for key, value in pairs))


def _default_mapping(arguments: tuple[Any, ...]) -> Any:
    return {}


def _frombuffer(arguments: tuple[Any, ...]) -> Any:
    """Protocol 5: buffer, dtype, shape, order."""
    data, dtype, shape, order = arguments[:4]
    descr = descr_of(dtype)
    return of_array(data, descr, _numbers(shape), columns_first=order == "F") if isinstance(data, Span) else Inert("an array")


def descr_of(dtype: Any) -> str:
    """A dtype as numpy writes it."""
    text = dtype.arguments[0] if isinstance(dtype, Inert) and dtype.by == "numpy.dtype" and dtype.arguments else ""
    order = dtype.state[1] if isinstance(dtype, Inert) and isinstance(dtype.state, tuple) and len(dtype.state) > 1 else ""
    return f"{'>' if order == '>' else ''}{text}"


def build(target: Any, state: Any) -> Any:
    """The value of an object after BUILD."""
    if not isinstance(target, Inert):
        return target
    target.state = state
    if target.by in _ARRAYS and isinstance(state, tuple) and len(state) == 5:
        _, shape, dtype, columns_first, data = state
        if isinstance(data, Span):
            return of_array(data, descr_of(dtype), tuple(shape), columns_first=bool(columns_first))
    return target


def storage(identity: Any) -> Any:
    """torch's persistent identities: ("storage", kind, key, place, count, view)."""
    if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage" and isinstance(identity[1], Name)):
        return Inert("a persistent id")
    kind = identity[1].name.removesuffix("Storage").lstrip("_")
    if kind not in STORAGES:
        return Inert(f"a {identity[1].name}")
    if type(identity[4]) is not int or not isinstance(identity[2], str):
        raise Malformed("a storage's key or length is wrong")
    found = Storage(STORAGES[kind], identity[2], identity[4])
    view = identity[5] if len(identity) > 5 else None
    if isinstance(view, tuple) and len(view) == 3 and type(view[1]) is int and view[1] >= 0:
        found.begin = view[1] * width(found.dtype)
    return found


def _encode(arguments: tuple[Any, ...]) -> Any:
    """How protocols below 3 write bytes: as a text in which each letter is one; no bytes at all by a call without arguments."""
    if arguments and not isinstance(arguments[0], str):
        return Inert("bytes")
    data = arguments[0].encode("latin-1") if arguments else b""
    return Span(of_bytes(data, path=""), 0, len(data))


def behind(source: Source, position: int, state: Any) -> tuple[Any, int]:
    """The array behind joblib's description of it, and where the stream goes on; None for one of objects, which is a pickle."""
    descr, shape = descr_of(state["dtype"]), tuple(state["shape"])
    if descr.lstrip("<>|=").startswith("O"):
        return None, position
    if "numpy_array_alignment_bytes" in state:
        position += 1 + source.read(position, 1)[0]
    width = int(re.sub(r"\D", "", descr) or 1) * (4 if "U" in descr else 1)
    size = prod(shape) * width
    if position + size > source.size:
        raise Malformed("an array ends beyond the file", offset=position)
    return of_array(Span(source, position, size), descr, shape, columns_first=state["order"] == "F"), position + size


_ARRAYS = tuple(f"{module}._reconstruct" for module in NUMPY_MODULES)
KNOWN: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_3,
    **dict.fromkeys(PARAMETERS, _parameter),
    "torch._tensor._rebuild_from_type_v2": _from_type,
    **dict.fromkeys(("_codecs.encode", "__builtin__.bytes", "builtins.bytes"), _encode),
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _default_mapping,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "numpy._core.numeric._frombuffer": _frombuffer,
}
