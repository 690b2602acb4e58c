"""Raw numbers that another file describes: shards of TensorFlow variables, external data, record files. No loader parses them as more."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.source import Probe, Source

_NAMED = re.compile(
    r".*\.data-\d{5}-of-\d{5}\Z|.*\.(?:onnx[._]data|onnx\.data|pdiparams|tfrecords?|params|mnn|weight|ubin|bin\.data|cbm)\Z|events\.out\.tfevents\..*|.*\.bin\Z"
)
_SIDES = (".xml", ".onnx", ".pdmodel", "-symbol.json", ".param", ".json")
TABLE = (0xDB4775248B80FB57).to_bytes(8, "little")
MXNET = (0x112).to_bytes(8, "little")
MAGICS = (b"CBM1", b"binf", MXNET)
_PICKLE = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04|\x1f\x8b|\x7fELF|MZ|[\[{]|GGUF|ggml|lmgg|tjgg")


def recognises(probe: Probe) -> bool:
    """By magic number where there is one, else by name, for content that no format claims."""
    if probe.tail[-8:] == TABLE or probe.head.startswith(MAGICS):
        return True
    if not _NAMED.match(probe.name) or _PICKLE.match(probe.head):
        return False
    return not probe.name.endswith(".bin") or _described(probe)


def _described(probe: Probe) -> bool:
    """Whether a file beside it has the same name and describes it, as OpenVINO's graph does."""
    tree, place = getattr(probe, "tree", None), getattr(probe, "place", "")
    if tree is None:
        return False
    stem = place[: -len(".bin")]
    return any(stem + side in tree.names for side in _SIDES) or any(name.lower().endswith(".onnx") for name in tree.names)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """A table must end as one; numbers have nothing to check."""
    if source.size < 8 and source.probe.tail[-8:] == TABLE:
        raise Malformed("a table without content")
    yield finding("raw-data", source, f"{source.size:,} bytes of numbers, which a model beside it describes")
