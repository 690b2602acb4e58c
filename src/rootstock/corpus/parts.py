"""A build's state on disk: a few thousand documents at a time, each part whole or absent, so that a killed build goes on after the last."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from rootstock.core import artifact
from rootstock.core.errors import ContractRefused


@dataclass(frozen=True)
class Part:
    """A part on disk. account: where the next one begins ("next"), and its lines of the funnel ("steps")."""

    folder: Path
    account: dict[str, Any]

    def documents(self) -> pa.Table:
        """The documents that stayed."""
        return pq.read_table(self.folder / "documents.parquet")

    def arrays(self) -> dict[str, np.ndarray]:
        """What steps that look across documents need of them."""
        found: dict[str, np.ndarray] = load_file(self.folder / "arrays.safetensors")
        return found


def written(folder: Path, key: str) -> list[Part]:
    """The parts of this build so far, in order. ContractRefused where they belong to another build."""
    found = []
    for path in sorted(folder.glob("part-[0-9]*")):
        account = json.loads((path / "account.json").read_text("utf-8"))
        if account["key"] != key:
            raise ContractRefused(
                f"{folder.parent} holds the beginning of another build",
                wanted="the same sources and settings",
                fix="choose another --out, or give --overwrite",
            )
        found.append(Part(path, account))
    return found


def write(folder: Path, number: int, documents: pa.Table, arrays: Mapping[str, np.ndarray], account: dict[str, Any]) -> Part:
    """Put a part on disk."""
    place = folder / f"part-{number:06}"
    with artifact.whole_folder(place) as beside:
        pq.write_table(documents, beside / "documents.parquet", compression="zstd")
        save_file(dict(arrays), beside / "arrays.safetensors")
        artifact.write_json(beside / "account.json", account)
    return Part(place, account)


def shards(tables: Iterator[pa.Table], folder: Path, *, size: int) -> list[str]:
    """Write tables one after the other as shard-00000.parquet …, each of about `size` bytes of text; returns their names."""
    names: list[str] = []
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(each.nbytes for each in held) >= size:
            names.append(_shard(held, folder, len(names)))
            held = []
    if held:
        names.append(_shard(held, folder, len(names)))
    return names


def _shard(held: list[pa.Table], folder: Path, number: int) -> str:
    name = f"shard-{number:05}.parquet"
    with artifact.writing(folder / name):
        pq.write_table(pa.concat_tables(held).combine_chunks(), folder / name, compression="zstd")
    return name
