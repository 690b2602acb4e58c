"""A model repository as a whole: Python that a loader takes from it, native libraries, indexes and loaders that name files."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Severity, finding
from rootstock.sentinel.judge import names, paths
from rootstock.sentinel.source import Source, Tree

SMALL = 1 << 22
BY_NAME = {
    "hubconf.py": "torch.hub runs it",
    "custom_generate/generate.py": "generate runs it where trust_remote_code is set",
    "handler.py": "an inference endpoint runs it",
    "pipeline.py": "diffusers runs it as a custom pipeline",
    "setup.py": "installing the folder runs it",
    "conftest.py": "running tests in the folder runs it",
    ".envrc": "direnv runs it where somebody enters the folder",
    "sitecustomize.py": "Python runs it at start where the folder is on its path",
    "usercustomize.py": "Python runs it at start where the folder is on its path",
}
PACKAGING = frozenset(("setup.py", "conftest.py"))
"""Run by somebody who installs or tests the folder; no loader of models does."""

_GIT = re.compile(
    r"^\s*(?:(?:fsmonitor|sshCommand|hooksPath|editor|pager|askPass|gitProxy|command|helper|clean|smudge|process|textconv)"
    r"\s*=(?!\s*(?:true\b|false\b|git-lfs ))"
    r"|url\s*=\s*(?=ext::|-))([^\n]+)",
    re.MULTILINE | re.IGNORECASE,
)
LIBRARIES = re.compile(r"\.(?:so(?:\.\d+)*|dll|dylib|pyd|ocx)\Z")
MODEL_CODE = re.compile(
    r"(?:modeling|configuration|tokenization|processing|image_processing|feature_extraction|video_processing)_\w+\.py\Z"
)


def scan(tree: Tree, context: Context) -> Iterator[Finding]:
    """Names first, then the files that name others."""
    present = frozenset(tree.names)
    for name in tree.names:
        context.check_time()
        yield from _by_name(name, tree)
        base = PurePosixPath(name).name.lower()
        if name.endswith((".gitmodules", ".git/config")):
            yield from _git(name, tree)
        if base == "mlmodel":
            yield from _mlflow(name, tree, present)
        elif name.lower().endswith("mar-inf/manifest.json"):
            yield from _torchserve(name, tree, present)
        elif base in (
            "config.json",
            "tokenizer_config.json",
            "processor_config.json",
            "preprocessor_config.json",
            "generation_config.json",
        ):
            yield from _auto_map(name, tree, present)


def _open(tree: Tree, name: str) -> Source | None:
    try:
        return tree.open(name)
    except (KeyError, OSError):
        return None


def _by_name(name: str, tree: Tree) -> Iterator[Finding]:
    low = name.lower()
    why = next((why for known, why in BY_NAME.items() if low == known or low.endswith("/" + known)), "")
    if ".git/hooks/" in f"/{low}" and not low.endswith(".sample"):
        why = "git runs it"
    if low.startswith("custom_generate/") and low.endswith(".py") and not why:
        why = "generate imports it where trust_remote_code is set"
    source = _open(tree, name) if why or LIBRARIES.search(low) or MODEL_CODE.search(low) else None
    if source is None:
        return
    if why:
        severity: Severity | None = "note" if PurePosixPath(low).name in PACKAGING or (low.count("/") and "pipeline" in low) else None
        yield finding("remote-code", source, f"{name} is code of the repository's own: {why}", severity=severity)
    elif MODEL_CODE.search(low):
        yield finding("remote-code", source, f"{name} is named like code that trust_remote_code runs", severity="note")
    else:
        yield finding("native-library", source, f"{name} is a native library beside a model")


def _git(name: str, tree: Tree) -> Iterator[Finding]:
    """Settings by which git runs a command."""
    source = _open(tree, name)
    text = source.read(0, min(source.size, SMALL)).decode("utf-8", "replace") if source else ""
    for match in _GIT.finditer(text):
        assert source is not None
        yield finding("remote-code", source, f"git runs {match[1].strip()[:120]!r} because {name} says so", offset=match.start())


def _auto_map(name: str, tree: Tree, present: frozenset[str]) -> Iterator[Finding]:
    """Files that an auto_map names, which the loader imports."""
    config = _json(tree, name)
    mapping = config.get("auto_map") if isinstance(config, dict) else None
    for value in _texts(mapping):
        repository, _, dotted = value.rpartition("--")
        file = str(PurePosixPath(name).parent / (dotted.split(".")[0] + ".py"))
        source = _open(tree, file) if not repository and file in present else None
        if source is not None:
            yield finding("remote-code", source, f"{name} has a loader import it as {value[:120]!r}")


def _texts(value: Any) -> Iterator[str]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            yield from (each for each in _flat(item) if isinstance(each, str))


def _flat(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def _mlflow(name: str, tree: Tree, present: frozenset[str]) -> Iterator[Finding]:
    """The loader that MLflow imports, and the folder of code that it puts first on Python's path."""
    source = _open(tree, name)
    if source is None or source.size > SMALL:
        return
    text = source.read(0, source.size).decode("utf-8", "replace")
    folder = str(PurePosixPath(name).parent)
    code = [match[1].strip("'\" ") for match in re.finditer(r"^\s*(?:code|code_path|code_paths)\s*:\s*([^\s#][^#\n]*)", text, re.MULTILINE)]
    for place in code:
        if place in ("null", "~", "[]"):
            continue
        if why := paths.escapes(place):
            yield finding("config-path", source, f"the code lies at {place[:120]!r}, which {why}")
        prefix = f"{place}/" if folder == "." else f"{folder}/{place}/"
        found = sorted(each for each in present if each.startswith(prefix) and each.endswith(".py"))
        yield finding(
            "mlflow-loader",
            source,
            f"MLflow puts the folder {place[:80]!r} first on Python's path; in it: {', '.join(found)[:160] or 'nothing'}",
        )
    for match in re.finditer(r"^\s*model_code_path\s*:\s*['\"]?([^\s'\"]+)", text, re.MULTILINE):
        yield finding("mlflow-loader", source, f"MLflow runs {match[1][:120]!r} to load the model", offset=match.start())
    for match in re.finditer(r"^\s*(?:data|python_model|pickled_model|model_path)\s*:\s*['\"]?([^\s'\"]+)", text, re.MULTILINE):
        if why := paths.escapes(match[1]):
            yield finding("config-path", source, f"MLflow loads {match[1][:120]!r}, which {why}", offset=match.start())
    for match in re.finditer(r"^\s*loader_module\s*:\s*['\"]?([\w.]+)", text, re.MULTILINE):
        if names.judge(match[1]) != "note":
            yield finding("mlflow-loader", source, f"MLflow imports {match[1]!r} to load the model", offset=match.start())


def _torchserve(name: str, tree: Tree, present: frozenset[str]) -> Iterator[Finding]:
    """The handler of a model archive, which TorchServe imports; its own handlers have no file."""
    manifest = _json(tree, name)
    model = manifest.get("model") if isinstance(manifest, dict) else None
    handler = model.get("handler") if isinstance(model, dict) else None
    file = str(PurePosixPath(name).parent.parent / handler.split(":")[0]) if isinstance(handler, str) else ""
    if file and (source := _open(tree, file) if file in present else None):
        yield finding("remote-code", source, f"TorchServe imports {file[:80]!r} to serve the model", severity="suspicious")


def _json(tree: Tree, name: str) -> Any:
    source = _open(tree, name)
    if source is None or source.size > SMALL:
        return None
    try:
        return json.loads(source.read(0, source.size))
    except (ValueError, RecursionError):
        return None  # told by the reader of JSON
