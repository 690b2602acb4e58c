"""The verb convert: checkpoints that would have to be unpickled become safetensors, and nothing in them is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.bases.resolve import HUB_ID, PICKLED, fetch
from rootstock.core import artifact
from rootstock.core.errors import DataError, UsageError
from rootstock.core.lock import alone
from rootstock.sentinel.convert import checkpoint, opened, tensorflow, write
from rootstock.sentinel.output.text import verdict
from rootstock.sentinel.scanner import scan

WEIGHTS, RECORD = "model.safetensors", "conversion.json"
_INDEX = ".index.json"
_WANTED = "a checkpoint: .bin, .pt, .pth, .ckpt, .npz, .npy, .joblib, an index of shards, TensorFlow's name or .index, or a hub id"
NAMED = 20
"""Left-out values that are named one by one."""


def convert(paths: Sequence[Path], out: Path, *, part: str = "", overwrite: bool = False) -> dict[str, Any]:
    """Write out/model.safetensors and out/conversion.json, whole or not at all; the record.

    part: only what lies below this name, which is taken off. Raises DataError for a file that is no checkpoint or holds no tensor.
    """
    with alone(out):
        if out.exists() and not overwrite:
            raise UsageError(f"{out} exists", wanted="a new folder", fix="choose another --out, or add --overwrite")
        held = [_files(path) for path in paths]
        contents = [(path, content) for each in held for path, content in each.contents]
        sources = [path for each in held for path in each.sources]
        tensors: dict[str, Any] = {}
        for path, content in contents:
            chosen = _below(content.tensors, part)
            if twice := sorted(set(chosen) & set(tensors)):
                raise DataError(
                    f"{path} holds {twice[0]!r}, as a file before it does", wanted="shards of one checkpoint", fix="convert them apart"
                )
            tensors |= chosen
        left_out = [entry for _, content in contents for entry in content.left_out]
        if not tensors:
            what = f"there is no tensor in {', '.join(map(str, paths))}" + (f" below {part!r}" if part else "")
            others = f"; it holds {left_out[0][0]}: {left_out[0][1]}" if left_out and not part else ""
            raise DataError(what + others, wanted="a checkpoint")
        report = scan(*sources)
        record = {
            "sources": {path.name: artifact.digest_file(path) for path in sources},
            "tensors": len(tensors),
            "numbers_bytes": sum(tensor.bytes for tensor in tensors.values()),
            "other_tensors": sum(len(content.tensors) for _, content in contents) - len(tensors),
            "left_out": len(left_out),
            "left_out_named": [f"{name}: {what}" for name, what in left_out[:NAMED]],
            "scan_of_sources": verdict(report),
            "scan_rules": sorted({each.rule for each in report.by_action("refuse")}),
        }
        with artifact.whole_folder(out) as folder:
            write.safetensors(folder / WEIGHTS, tensors, contents[0][1].framework)
            artifact.write_json(folder / RECORD, record)
        return record


@dataclass(frozen=True)
class _Held:
    """What a path means. contents: by file or index. sources: every file that was read."""

    contents: list[tuple[Path, checkpoint.Content]]
    sources: list[Path]


def _files(path: Path) -> _Held:
    """A file, an index of shards, a TensorFlow checkpoint by its name, index or folder."""
    with opened.told(path):
        if (index := tensorflow.index_of(path)) is not None:
            content, files = tensorflow.read(index)
            return _Held([(index, content)], files)
        if path.is_dir() or path.name.endswith(_INDEX):
            return _shards(path if path.is_file() else _index(path))
        if not path.exists() and "/" in str(path) and (found := HUB_ID.fullmatch(str(path))):
            return _files(_index(fetch(found["id"], found["revision"], files=PICKLED)))
        return _Held([(path, _read(path))], [path])


def _index(folder: Path) -> Path:
    """The one index of pickled shards in a folder, or its one checkpoint."""
    for pattern in (f"*.bin{_INDEX}", "*.bin", "*.pt", "*.pth", "*.ckpt"):
        if len(held := sorted(folder.glob(pattern))) == 1:
            return held[0]
    raise UsageError(f"{folder} does not hold one checkpoint", wanted=_WANTED, fix="name its file or files")


def _shards(index: Path) -> _Held:
    """All files that an index names, which lie beside it and hold what it says; a path that is no index is one checkpoint."""
    if not index.name.endswith(_INDEX):
        return _Held([(index, _read(index))], [index])
    named = artifact.read_json(index, wanted="an index of shards", fix="fetch it again").get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(each, str) for each in named.values()):
        raise DataError(f"{index} has no weight_map", wanted="an index of shards, such as pytorch_model.bin.index.json")
    names = sorted(set(named.values()))
    if out := [name for name in names if Path(name).name != name or name in (".", "..")]:
        raise DataError(f"{index} leads to {out[0]!r}", wanted="names of files beside it", fix="do not use it")
    contents = [(index.with_name(name), _read(index.with_name(name))) for name in names]
    for tensor, name in named.items():
        held = next(content for path, content in contents if path.name == name)
        if tensor not in held.tensors:
            raise DataError(f"{index} says that {name} holds {tensor!r}, and it does not", wanted="the shards that belong to it")
    return _Held(contents, [index, *(path for path, _ in contents)])


def _read(path: Path) -> checkpoint.Content:
    if not path.is_file():
        raise UsageError(f"there is no file {path}", wanted=_WANTED, fix="check the path")
    return opened.content(path)


def _below(tensors: dict[str, Any], part: str) -> dict[str, Any]:
    return {name.removeprefix(f"{part}."): each for name, each in tensors.items() if name.startswith(f"{part}.")} if part else tensors


def as_text(record: dict[str, Any], out: Path) -> str:
    """The record for people."""
    lines = [
        f"{record['tensors']:,} tensors, {record['numbers_bytes']:,} bytes, written to {out / WEIGHTS}; nothing in the source was run",
        *([f"{record['other_tensors']:,} tensors outside of the part that was asked for"] if record["other_tensors"] else []),
        *([f"{record['left_out']:,} values that are no tensors were left out:"] if record["left_out"] else []),
        *(f"  {text}" for text in record["left_out_named"]),
        f"rootstock scan of the source: {record['scan_of_sources']}" + "".join(f" {rule}" for rule in record["scan_rules"]),
    ]
    return "\n".join(lines)
