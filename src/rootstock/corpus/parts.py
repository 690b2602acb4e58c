"""A build's state on disk: a few thousand documents at a time, each part whole or absent, so that a killed build goes on after the last."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from rootstock.core import artifact, aside
from rootstock.core.errors import ContractRefused
from rootstock.corpus.step import TEXT


@dataclass(frozen=True)
class Part:
    """A part on disk. account: where the next one begins ("next"), and its lines of the funnel ("steps")."""

    folder: Path
    account: dict[str, Any]

    def documents(self) -> pa.Table:
        """The documents that stayed."""
        with pa.memory_map(str(self.folder / "documents.arrow")) as mapped:  # a few documents of a part cost no more than themselves
            return pa.ipc.open_file(mapped).read_all()

    def arrays(self) -> dict[str, np.ndarray]:
        """What steps that look across documents need of them."""
        found: dict[str, np.ndarray] = load_file(self.folder / "arrays.safetensors")
        return found


def written(folder: Path, key: str) -> list[Part]:
    """The parts of this build so far, in order. ContractRefused where they belong to another build."""
    found = []
    for path in sorted(folder.glob("part-[0-9]*")):
        account = artifact.read_json(path / "account.json", wanted="a part of a build", fix="remove the folder of parts, and build again")
        if account["key"] != key:
            raise ContractRefused(
                f"{folder.parent} holds the beginning of another build",
                wanted="the same sources and settings",
                fix="choose another --out, or give --overwrite",
            )
        found.append(Part(path, account))
    return found


def write(folder: Path, number: int, documents: pa.Table, arrays: Mapping[str, np.ndarray], account: dict[str, Any]) -> Part:
    """Put a part on disk: with the first of a build, the corpus that it replaces goes."""
    place = folder / f"part-{number:06}"
    with artifact.whole_folder(place) as beside:
        with pa.ipc.new_file(str(beside / "documents.arrow"), documents.schema) as stream:
            stream.write_table(documents)
        save_file(dict(arrays), beside / "arrays.safetensors")
        artifact.write_json(beside / "account.json", account)
    aside.gone(folder.parent)
    return Part(place, account)


def shards(tables: Iterator[pa.Table], folder: Path, *, size: int) -> list[str]:
    """Write documents as shard-00000.parquet …, each ended by the document that brings its text to `size` bytes; returns their names."""
    names: list[str] = []
    held: list[pa.Table] = []
    room = size
    for table in tables:
        rest = table
        while len(rest):
            bytes_N = np.cumsum(pc.binary_length(rest.column(TEXT)).to_numpy())
            taken = min(int(np.searchsorted(bytes_N, room)) + 1, len(rest))
            held.append(rest.slice(0, taken))
            room, rest = room - int(bytes_N[taken - 1]), rest.slice(taken)
            if room <= 0:
                names.append(_shard(held, folder, len(names)))
                held, room = [], size
    return [*names, _shard(held, folder, len(names))] if held else names


def _shard(held: list[pa.Table], folder: Path, number: int) -> str:
    name = f"shard-{number:05}.parquet"
    beside = folder / f".{name}.part"
    with artifact.writing(folder / name):
        pq.write_table(pa.concat_tables(held).combine_chunks(), beside, compression="zstd")
        artifact.sync(beside)
        beside.replace(folder / name)
    return name
