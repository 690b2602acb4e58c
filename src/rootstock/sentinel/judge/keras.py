"""Keras configs, versions 2 and 3: layers that carry code, names that Keras imports, paths that layers open."""

import binascii
import builtins
import re
from collections.abc import Iterator
from typing import Any

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Severity, finding
from rootstock.sentinel.judge import names, paths
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.source import Source, of_bytes

CODE_CLASSES = frozenset(("Lambda", "__lambda__"))
FOREIGN = {
    "TFSMLayer": "loads a SavedModel from the path in its config",
    "TorchModuleWrapper": "holds a pickled torch module",
    "FlaxLayer": "holds pickled functions",
    "JaxLayer": "holds pickled functions",
    "OptimizerWithPickle": "holds a pickle",
}
PATHS = words("vocabulary filepath filename file weights_path vocabulary_path vocabulary_file idf_weights merges proto vocab origin")
"""Settings of layers that, given as a text, are opened as a file."""

PACKAGES = words(
    "keras keras_core keras_cv keras_hub keras_nlp keras_tuner tf_keras tensorflow tensorflow_addons tensorflow_hub tensorflow_probability"
)
_FILE_OPS = re.compile(
    r"(?:^|[._])(?:io|raw_ops|py_function|numpy_function|load_op_library|load_library|get_file|read_file|write_file|print)(?:[._]|$)"
)
PURE = words("activations losses metrics initializers regularizers constraints ops math nn optimizers layers backend image random linalg")
"""Modules of Keras and TensorFlow whose functions compute and do nothing else."""

_BUILT_IN = words("dict list tuple set str int float bool bytes slice range complex NoneType object")


def judge(root: Any, source: Source, context: Context) -> Iterator[Finding]:
    """Findings on every Keras object within a document."""
    pending = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str) and ({"config", "module", "registered_name"} & set(item)):
                yield from _object(item, source, context)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _object(item: dict[str, Any], source: Source, context: Context) -> Iterator[Finding]:
    kind, config = item["class_name"], item.get("config")
    bare = kind.rsplit(">", 1)[-1].rsplit(".", 1)[-1]
    if bare in CODE_CLASSES:
        yield from _lambda(item, source, context)
    if bare in FOREIGN:
        yield finding("keras-foreign-layer", source, f"the layer {_name(item)} is a {bare}, which {FOREIGN[bare]}")
    if bare in ("TFOpLambda", "SlicingOpLambda") and isinstance(config, dict) and _FILE_OPS.search(str(config.get("function"))):
        what = f"the layer {_name(item)} calls the operation {str(config.get('function'))[:80]!r}"
        yield finding("keras-class", source, what, severity="malicious")
    yield from _import(item, source)
    for key, value in config.items() if isinstance(config, dict) else []:
        if key in PATHS and isinstance(value, str) and bare not in CODE_CLASSES:
            yield from _path(item, key, value, source)


def _import(item: dict[str, Any], source: Source) -> Iterator[Finding]:
    """The module that Keras would import, and the name that it would take from it."""
    kind, module = item["class_name"], item.get("module")
    named = [each for each in (item.get("config"), item.get("registered_name"), item.get("function_name")) if isinstance(each, str)]
    wanted = named if kind == "function" and named else [kind]
    for name in wanted:
        severity = _verdict(module if isinstance(module, str) else "", name, function=kind == "function")
        if severity != "note":
            yield finding("keras-class", source, f"{_name(item)} has Keras import {module!r} and take {name!r} from it", severity=severity)


def _verdict(module: str, name: str, *, function: bool) -> Severity:
    bare = name.rsplit(">", 1)[-1]
    if _FILE_OPS.search(name):
        return "malicious"
    if not module or module == "__main__":
        return "malicious" if "." in bare and names.judge(bare) == "malicious" else "note"
    if module == "builtins":
        return "note" if bare in _BUILT_IN or not hasattr(builtins, bare) else "malicious"
    if module.split(".", maxsplit=1)[0] in PACKAGES:
        plain = PURE & set(module.split(".")) if function or bare[:1].islower() else "utils" not in module and "saving" not in module
        return "note" if plain else "malicious"
    return names.judge(f"{module}.{bare}")


def _lambda(item: dict[str, Any], source: Source, context: Context) -> Iterator[Finding]:
    config = item.get("config")
    codes = [text for text in _texts(config) if len(text) >= 24]
    decoded = [raw for text in codes if (raw := _decode(text)) and raw[:1] in (b"\xe3", b"c")]
    words = " ".join(dict.fromkeys(word.decode() for raw in decoded for word in re.findall(rb"[A-Za-z_./-]{4,}", raw[:4000])))
    what = f"with compiled Python code in it, which names: {words[:160]}" if decoded else "whose function is code or a name"
    if item["class_name"] == "__lambda__" and not decoded:
        what = "with code that can't be read"
    yield finding("keras-lambda", source, f"{_name(item)} is a Lambda layer {what}", severity="malicious" if decoded else "suspicious")
    for raw in decoded[:8]:
        context.check_time()
        if raw[:1] == b"\x80":
            yield from context.nested(of_bytes(raw, path=source.path, members=(*source.members, "lambda code")))


def _texts(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            pending.extend(item.values() if isinstance(item, dict) else item)


def _decode(text: str) -> bytes:
    """As Keras does it: what is no base64 is passed over."""
    try:
        return binascii.a2b_base64(text.encode("ascii", "ignore"))
    except binascii.Error:
        return b""


def _path(item: dict[str, Any], key: str, value: str, source: Source) -> Iterator[Finding]:
    why = paths.escapes(value)
    if why or "/" in value or "." in value:
        severity: Severity = "malicious" if why else "suspicious"
        yield finding("keras-path", source, f"{_name(item)} opens the file {value[:160]!r} by its {key!r}", severity=severity)


def _name(item: dict[str, Any]) -> str:
    config = item.get("config")
    name = item.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return f"{item['class_name'][:80]} {str(name)[:80]!r}" if name else item["class_name"][:80]
