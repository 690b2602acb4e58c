"""The gate that every model folder passes before anything is loaded from it. Reads bytes, runs nothing."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core.artifact import digest_file, digest_json
from rootstock.core.errors import BaseError, GateRefused
from rootstock.sentinel import safetensors
from rootstock.sentinel.folders.links import places
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.policy import DEFAULT, policy
from rootstock.sentinel.scanner import FolderTree, scan_folder

WEIGHTS, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
NEW_ROWS = "new_tokens.safetensors"
"""Rows of tokens that a base got, beside an adapter whose own format has no place for them."""
CONFIGS = ("config.json", "adapter_config.json", "tokenizer_config.json")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "*.model",
)
"""Files that a tokenizer is read from."""

PICKLES = frozenset([".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib"])
PLAIN = frozenset([".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".jinja", ".model", ".py", ".ipynb", ".png", ".jpg", ".svg"])
MAGICS = (*(bytes((0x80, protocol)) for protocol in range(2, 6)), b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
"""How a pickle, a zip (torch.save) or a compressed file begins."""

CODE_KEYS = frozenset(("auto_map", "custom_pipelines"))
"""Keys by which a config names Python files of its own."""


HELD_ELSEWHERE = frozenset(["adapter-base"])
"""Rules that a run keeps in another way: it loads the base that its recipe names, and its adapter holds that one's digest."""
_PASSED: set[str] = set()
"""Digests of the names and bytes that this process has scanned and found good: a comparison opens the same base a dozen times."""


@dataclass(frozen=True)
class Admission:
    """A folder that passed.

    files: name to sha256 of every file that decides what the model is. weights: the files to load.
    digest: of weights and config together, the digest of the base. parameters: number of weights.
    notes: what lies beside and is left alone.
    """

    files: dict[str, str]
    weights: tuple[Path, ...]
    digest: str
    parameters: int
    notes: tuple[str, ...] = ()


def admit(folder: Path) -> Admission:
    """Check a model folder and digest it.

    Raises GateRefused where loading it could run code or reach out of the folder, BaseError where it is incomplete or damaged.
    """
    if folder.is_file():
        raise _refuse_file(folder)
    folder = folder.resolve()
    _check_links(folder)
    weights = _weights(folder)
    for name in CONFIGS:
        check_config(folder / name)
    count = sum(safetensors.parameters(_header(path)) for path in weights)
    others = [path for name in (*CONFIGS, INDEX, *TOKENIZER) for path in sorted(folder.glob(name))]
    files = _checked(folder, (*weights, *others))
    deciding = {name: digest for name, digest in files.items() if name.endswith(".safetensors") or name in CONFIGS[:2]}
    return Admission(files, weights, digest_json(deciding), count, tuple(_notes(folder)))


def admit_tokenizer(folder: Path) -> dict[str, str]:
    """Check the folder of a tokenizer alone; name to sha256 of every file that decides what it is. Raises as admit does."""
    folder = folder.resolve()
    _check_links(folder)
    for name in CONFIGS:
        check_config(folder / name)
    return _checked(folder, [path for name in TOKENIZER for path in sorted(folder.glob(name))])


def _checked(folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """Digests of the files that are loaded, by name, once `rootstock scan` has nothing to say of them by its standard policy."""
    try:
        digests = {path.name: digest_file(path) for path in files}
    except OSError:
        _check_content(folder, files)  # which says what can't be read
        raise
    if (key := digest_json(digests)) not in _PASSED:
        _check_content(folder, files)
        if digests != {path.name: digest_file(path) for path in files}:
            raise GateRefused(f"{folder} changed while it was looked at", fix="wait until nothing writes to it, and try again")
        _PASSED.add(key)
    return digests


def _check_content(folder: Path, files: Sequence[Path]) -> None:
    tree = FolderTree(folder, tuple(sorted({path.relative_to(folder).as_posix() for path in files})))
    limits, chosen = Limits(), policy(DEFAULT)
    for found in scan_folder(tree, limits, time.monotonic() + limits.seconds) if tree.names and files else ():
        if chosen.action(found) == "refuse" and found.rule not in HELD_ELSEWHERE:
            wanted = "a folder that passes rootstock scan"
            if found.rule == "malformed":
                raise BaseError(f"{found.where} can't be read: {found.what}", wanted=wanted, fix=found.fix)
            raise GateRefused(f"{found.where}: {found.what} ({found.rule})", wanted=wanted, fix=found.fix)


def pickles(folder: Path) -> list[str]:
    """Names of the files at the top of a folder that would be unpickled, by name or first bytes."""
    return [path.name for path in sorted(folder.iterdir()) if path.is_file() and _is_pickle(path)]


def _is_pickle(path: Path) -> bool:
    if path.suffix in PICKLES:
        return True
    # A valid safetensors header of 0x..80 bytes begins like a pickle, so that name is judged by its header instead.
    return path.suffix not in PLAIN | {".safetensors"} and _has_magic(path)


def _has_magic(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(8).startswith(MAGICS)


def _weights(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that a loader would take, in its order of preference."""
    shards = _shards(folder / INDEX) if (folder / INDEX).is_file() else ()
    model = (folder / WEIGHTS,) if (folder / WEIGHTS).is_file() else shards
    adapter = (folder / ADAPTER,) if (folder / "adapter_config.json").is_file() else ()
    beside = (folder / NEW_ROWS,) if adapter and (folder / NEW_ROWS).is_file() else ()
    needed = adapter or model
    if not needed or not all(path.is_file() for path in needed):
        raise _no_weights(folder)
    if not adapter and not (folder / "config.json").is_file():
        raise BaseError(
            f"{folder} has no config.json", wanted="a folder as written by save_pretrained", fix="give the folder that holds it"
        )
    return (*model, *adapter, *beside)


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, which must lie beside it."""
    mapping = _json(index).get("weight_map")
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        raise BaseError(f"{index} is damaged: weight_map must name a file for each tensor", fix="fetch the folder again")
    names = sorted(set(mapping.values()))
    for name in names:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise GateRefused(
                f"{index} points to {name!r}",
                wanted="safetensors files in the same folder",
                fix="do not use this folder: it reaches for other files",
            )
        if not (index.parent / name).is_file() and not (index.parent / WEIGHTS).is_file():
            raise BaseError(f"{index.parent} lacks {name}, which its index names", fix="fetch the folder again")
    return tuple(index.parent / name for name in names)


def _header(path: Path) -> safetensors.Shapes:
    try:
        return safetensors.header(path)
    except BaseError as error:
        if not _has_magic(path):
            raise
        raise GateRefused(
            f"{path} is a pickle or an archive under the name of a safetensors file", wanted="real safetensors weights", fix="delete it"
        ) from error


def _check_links(folder: Path) -> None:
    """Links must end inside the folder, or in the blobs that the hub's cache keeps beside its snapshots."""
    allowed = places(folder)
    for path in folder.rglob("*"):
        if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in allowed):
            raise GateRefused(
                f"{path} is a link out of the folder, to {path.resolve()}",
                wanted="files inside the folder",
                fix="replace the link by a copy",
            )


def check_config(path: Path) -> None:
    """Raises GateRefused where a config names code of its own, BaseError where it is no JSON object; a missing one passes."""
    if path.is_file() and (keys := sorted(set(_keys(_json(path))) & CODE_KEYS)):
        raise GateRefused(
            f"{path} names Python code of its own ({', '.join(keys)}), which loading would run",
            wanted="a model whose code is part of transformers",
            fix="choose another base, or a revision without custom code",
        )


def _keys(value: Any) -> Iterator[str]:
    """Keys with a value, at any depth."""
    if isinstance(value, dict):
        yield from (key for key, inner in value.items() if inner)
    inner_values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for inner in inner_values:
        yield from _keys(inner)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BaseError(f"{path} is not valid JSON: {error}", fix="fetch or save the file again") from error
    if not isinstance(value, dict):
        raise BaseError(f"{path} is not a JSON object", fix="fetch or save the file again")
    return value


def _no_weights(folder: Path) -> BaseError | GateRefused:
    if found := pickles(folder):
        return GateRefused(
            f"{folder} has its weights only as {', '.join(found)}: pickled files, and loading one runs whatever code it carries",
            wanted="safetensors weights",
            fix="choose a revision with safetensors, or take the tensors out without loading it: rootstock convert",
        )
    known = PLAIN | {".safetensors"}
    foreign = [p.name for p in sorted(folder.iterdir()) if p.is_file() and p.suffix not in known and not p.name.startswith(".")]
    if foreign:
        return GateRefused(
            f"{folder} has no safetensors weights, only {', '.join(foreign)}", wanted=WEIGHTS, fix="convert with save_pretrained"
        )
    return BaseError(f"{folder} holds no weights", wanted=f"{WEIGHTS} beside config.json", fix="give a folder written by save_pretrained")


def _refuse_file(path: Path) -> BaseError | GateRefused:
    if not _is_pickle(path):
        return BaseError(f"{path} is a file", wanted="the folder of a model", fix=f"give {path.parent}")
    return GateRefused(
        f"{path} is a pickled file: loading it runs whatever code it carries",
        wanted="a folder with safetensors weights",
        fix="take the tensors out without loading it: rootstock convert",
    )


def _notes(folder: Path) -> Iterator[str]:
    if found := pickles(folder):
        yield f"ignored, because unpickling runs code: {', '.join(found)}"
    if code := sorted(path.name for path in folder.glob("*.py")):
        yield f"ignored, because base models need no code: {', '.join(code)}"
