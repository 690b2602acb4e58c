"""Values of configs in any text format, one at a time: what a loader would import, run, render or open because a value says so."""

import binascii
import re
from collections.abc import Iterator
from typing import Any

from rootstock.sentinel.findings import Finding, Severity, finding
from rootstock.sentinel.judge import names, paths, shell
from rootstock.sentinel.judge.templates import is_template
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.source import Source

Path = tuple[str | int, ...]

TARGETS = words(
    "parent_library megatron_core _target_ _target __target__ class_path loader_module entry_point _class_path_ callable py/object py/type"
    " py/function py/module"
)
"""Keys whose value a loader imports: peft, hydra, Lightning, MLflow, jsonpickle."""

SOFT_TARGETS = words("target cls _type_ builder instantiate import_path python_class")
"""Keys that some loaders import and others do not: only what runs code counts."""

CLASSES = words("activation_function activation_fn sbert_ce_default_activation_function loss_function")
"""Keys that hold a short name, or the full name of a class that sentence-transformers imports."""

REDUCERS = words("__reduce__ __reduce_ex__ py/reduce py/repr py/newobj py/newargs py/initargs py/state __setstate__ __pickle__ __code__")
SKOPS = "schema.json"
"""In this file of skops a `__reduce__` holds arguments alone; the class that gets them stands beside it and is judged by itself."""

REMOTE = words("auto_map custom_pipelines custom_pipeline trust_remote_code custom_generate remote_code")
WEIGHTS = words("weight_map all_checkpoint_keys")
BASES = words("base_model_name_or_path base_model")
OPENED = words(
    "vocab_file vocab_path merges_file tokenizer_file spm_file sp_model sentencepiece_model_pt custom_objects_path weights_path"
    " weight_path model_file model_path checkpoint_path ckpt_path resume_from_checkpoint pretrained_model_path adapter_path"
    " lora_path config_file data_file python_model code_path code_paths loader_path special_tokens_map_file artifacts module_path"
    " preprocessor_path handler modelFile serializedFile extraFiles requirementsFile model_code_path"
)
"""Keys whose value a loader opens."""

LIBRARIES = re.compile(
    r"(?:^|_)(?:library|libraries|plugin|plugins|custom_op\w*|shared_object|extension|extensions|op_library|so_path|dll)$"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]*={0,3}")
_PROTO = re.compile("gA[I-X]")
"""The opcode PROTO with a protocol from 2 to 5."""
_RESOLVER = re.compile(r"\$\{\s*(?:eval|python|exec|shell|cmd|oc\.create|hydra\.\w*call)\b\s*:")


def packed_pickle(text: str) -> bytes:
    """The bytes of a pickle that a text holds as base64; empty where it does not."""
    if len(text) < 24 or not _PROTO.match(text) or not _BASE64.fullmatch(text):
        return b""
    text = re.sub(r"[\s=]", "", text).replace("-", "+").replace("_", "/")
    return binascii.a2b_base64(text[: len(text) - (len(text) % 4 == 1)] + "===")


def judge(path: Path, value: Any, source: Source, *, offset: int | None = None) -> Iterator[Finding]:
    """Findings on one value under its path of keys."""
    if isinstance(value, int | float) and value is not True:
        return
    key = path[-1] if path and isinstance(path[-1], str) else next((part for part in reversed(path) if isinstance(part, str)), "")
    if key in REDUCERS and not (key == "__reduce__" and value == "{" and source.name == SKOPS):
        yield finding("config-object", source, f"the key {key!r} has a loader rebuild an object by calling what it names", offset=offset)
    remote = next((part for part in path if part in REMOTE), None)
    if remote and value not in (False, None, "", "{", "["):
        yield finding("config-remote-code", source, f"{remote!r} names code of the repository's own: {_short(value)}", offset=offset)
    if isinstance(value, str) and value not in ("{", "["):
        yield from _text(key, path, value, source, offset)


def _text(key: str, path: Path, value: str, source: Source, offset: int | None) -> Iterator[Finding]:
    yield from _target(key, value, source, offset)
    yield from _opened(key, path, value, source, offset)
    if key.endswith("attn_implementation") and "/" in value:
        yield finding("config-remote-code", source, f"{key!r} has the loader fetch the kernel {_short(value)}", offset=offset)
    if key == "id" and value == "pickle" and {"filters", "compressor", "codecs"} & set(path):
        yield finding("config-object", source, "the chunks of an array are unpickled where it is read", offset=offset)
    if LIBRARIES.search(key) and (library := shell.first_library(value)):
        yield finding("native-library", source, f"{key!r} has a loader load the native library {library!r}", offset=offset)
    if _RESOLVER.search(value):
        yield finding("config-target", source, f"{_short(value)} computes a value by running code", offset=offset)
    if (code := shell.first_code(value)) and not is_template(value):
        rows: Severity | None = "note" if source.name.endswith((".jsonl", ".ndjson")) else None  # texts to train on may speak of code
        yield finding("code-in-text", source, f"the value of {key!r} is code: {code!r}", offset=offset, severity=rows)


def _opened(key: str, path: Path, value: str, source: Source, offset: int | None) -> Iterator[Finding]:
    """Files and bases that a loader opens because a value names them."""
    if any(part in WEIGHTS for part in path[:-1]) and (why := _bad_shard(value)):
        yield finding("index-path", source, f"the index sends a loader to {_short(value)}, which {why}", offset=offset)
    if key in BASES and (why := _bad_base(value)):
        yield finding("adapter-base", source, f"{key!r} is {_short(value)}, which {why}", offset=offset)
    if key in OPENED and "/" in value + "/" and (why := _bad_file(value)) and not _hub_file(value):
        yield finding("config-path", source, f"{key!r} has a loader open {_short(value)}, which {why}", offset=offset)
    if key == "path" and "itemInfoEntries" in path and (why := paths.escapes(value)):  # of a package of Core ML
        yield finding("config-path", source, f"the package has its model read from {_short(value)}, which {why}", offset=offset)


def _target(key: str, value: str, source: Source, offset: int | None) -> Iterator[Finding]:
    name = value.strip()
    if key not in TARGETS and key not in SOFT_TARGETS and not (key in CLASSES and "." in name and names.reads_as_name(name)):
        return
    if not names.reads_as_name(name):
        name = name.split("(")[0].split(" ")[0]
    severity = names.judge(name) if name else "note"
    if key in SOFT_TARGETS and (severity != "malicious" or "." not in name):
        return
    verdict = {
        "malicious": "which runs code or reaches out",
        "suspicious": "which is of no library known here",
        "note": "a known library's",
    }
    yield finding(
        "config-target", source, f"{key!r} has a loader call {_short(value)}, {verdict[severity]}", offset=offset, severity=severity
    )


def _bad_shard(value: str) -> str:
    if why := paths.escapes(value):
        return why
    return "is a pickle by its name" if value.lower().endswith((".pkl", ".pickle", ".joblib", ".dill", ".py", ".so")) else ""


def _bad_base(value: str) -> str:
    return why if (why := _bad_file(value)) or not value.startswith("/tmp/") else "lies where anybody may write"


def _bad_file(value: str) -> str:
    """Why a path is bad. An absolute one is mostly left over from the machine that saved the model, and not opened any more."""
    why = paths.escapes(value)
    if why == "is absolute" and not value.startswith(("/etc/", "/proc/", "/dev/", "/root/.ssh", "\\\\", "//", "~")):
        return ""
    return why


def _hub_file(value: str) -> bool:
    """A file named by its address on the hub, or where the training machine kept it: no loader opens these."""
    return value.startswith(("https://huggingface.co/", "https://s3.amazonaws.com/models.huggingface.co/", "https://cdn.huggingface.co/"))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
