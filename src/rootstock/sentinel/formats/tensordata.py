"""Raw numbers that another file describes: shards of TensorFlow variables, external data, record files. No loader parses them as more."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.formats.inert import is_text
from rootstock.sentinel.source import Probe, Source, Tree

_NAMED = re.compile(
    r".*\.data-\d{5}-of-\d{5}\Z|.*\.(?:onnx[._]data|onnx\.data|pdiparams|tfrecords?|params|mnn|weight|ubin|bin\.data|cbm)\Z|events\.out\.tfevents\..*"
)
SIDES = (".xml", ".onnx", ".pdmodel", "-symbol.json", ".param", ".json")
TOLD = (".onnx", ".safetensors", ".gguf", ".h5", ".keras", ".pb", ".tflite", ".msgpack", ".npy", ".npz", ".pt", ".pkl", ".model", ".zip")
"""Names whose content must say itself what it is."""

MOST_SEARCHED = 64 << 20
TABLE = (0xDB4775248B80FB57).to_bytes(8, "little")
MXNET = (0x112).to_bytes(8, "little")
FASTTEXT, OCDBT = (0x2F4F16BA).to_bytes(4, "little"), b"\x0c\xdb\x3a\x2a"
MAGICS = (b"CBM1", b"binf", MXNET, FASTTEXT, OCDBT)
_OTHER = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04|\x1f\x8b|\x7fELF|MZ|[\[{]|GGUF|ggml|lmgg|tjgg")


def recognises(probe: Probe) -> bool:
    """By magic number where there is one, else by name, for content that no format claims."""
    if probe.tail[-8:] == TABLE or probe.head.startswith(MAGICS):
        return True
    if _OTHER.match(probe.head):
        return False
    return bool(_NAMED.match(probe.name)) or (not probe.name.endswith(TOLD) and not is_text(probe.head) and _described(probe))


def _described(probe: Probe) -> bool:
    """Whether a file beside it describes it: a graph of the same name, as OpenVINO's, or an ONNX model that has its name in it."""
    if probe.tree is None:
        return False
    names, folder = probe.tree.names, PurePosixPath(probe.place).parent
    if probe.name.endswith(".bin") and any(probe.place[:-4] + side in names for side in SIDES):
        return True
    models = [name for name in names if name.lower().endswith(".onnx") and PurePosixPath(name).parent == folder]
    return any(_names(probe.tree, model, PurePosixPath(probe.place).name.encode()) for model in models[:16])


def _names(tree: Tree, model: str, name: bytes) -> bool:
    try:
        source = tree.open(model)
    except (KeyError, OSError):
        return False
    before = b""
    for chunk in source.part(0, MOST_SEARCHED).chunks():
        if name in before + chunk:
            return True
        before = chunk[-len(name) :]
    return False


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """A table must end as one; numbers have nothing to check."""
    if source.size < 8 and source.probe.tail[-8:] == TABLE:
        raise Malformed("a table without content")
    yield finding("raw-data", source, f"{source.size:,} bytes of numbers, which a model beside it describes")
