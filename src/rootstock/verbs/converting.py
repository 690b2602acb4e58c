"""The verb convert: checkpoints that would have to be unpickled become safetensors, and nothing in them is run."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import DataError, UsageError
from rootstock.sentinel.context import Context
from rootstock.sentinel.convert import checkpoint, write
from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.output.text import verdict
from rootstock.sentinel.scanner import scan
from rootstock.sentinel.source import of_file

WEIGHTS, RECORD = "model.safetensors", "conversion.json"
NAMED = 20
"""Left-out values that are named one by one."""


def convert(paths: Sequence[Path], out: Path, *, part: str = "", overwrite: bool = False) -> dict[str, Any]:
    """Write out/model.safetensors and out/conversion.json, whole or not at all; the record.

    part: only what lies below this name, which is taken off. Raises DataError for a file that is no checkpoint or holds no tensor.
    """
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists", wanted="a new folder", fix="choose another --out, or add --overwrite")
    contents = [(path, _read(path)) for path in paths]
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
        raise DataError(f"there is no tensor in {', '.join(map(str, paths))}" + (f" below {part!r}" if part else ""), wanted="a checkpoint")
    report = scan(*paths)
    record = {
        "sources": {path.name: artifact.digest_file(path) for path in paths},
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


def _read(path: Path) -> checkpoint.Content:
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}", wanted="a checkpoint: .bin, .pt, .pth, .ckpt, .npz, .npy, .joblib", fix="check the path"
        )
    context = Context(Limits(), lambda source, context: iter(()), lambda tree, source, context: iter(()), math.inf)
    try:
        return checkpoint.read(of_file(path), context)
    except (Malformed, LimitReached) as error:
        where = "" if error.offset is None else f" (byte {error.offset:,})"
        raise DataError(f"{path} can't be converted: {error.what}{where}", wanted="a checkpoint of torch, numpy or joblib") from error


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
