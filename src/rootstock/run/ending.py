"""What every kind of run leaves behind: the manifest, and the seal that makes the folder complete."""

import platform
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rootstock.core import artifact
from rootstock.core.modules import installed
from rootstock.core.resources import hardware
from rootstock.core.runfolder import RunFolder
from rootstock.core.task import Task
from rootstock.run.prepared import LabelledRows, Prepared

_LEARNING = ("rootstock", "torch", "transformers", "tokenizers", "peft", "accelerate", "safetensors")
_LIBRARIES = (*_LEARNING, "pyarrow", "numpy", "scikit-learn", "scipy")


def seal(folder: RunFolder, facts: dict[str, Any]) -> None:
    """Write the manifest with the digest of every file that stays; only now the run is complete."""
    files = artifact.digest_folder(folder.path)
    stay = {
        name: digest for name, digest in files.items() if not name.startswith(("checkpoints/", "track/", ".")) and name != "manifest.json"
    }
    artifact.write_json(folder.manifest, facts | {"files": stay})


def add(folder: RunFolder, names: Iterable[str]) -> None:
    """Make the manifest know files that came after the end. The others keep their digests, so that one changed since is still found out."""
    told = folder.json("manifest.json")
    files = told.get("files", {}) | {name: artifact.digest_file(folder.path / name) for name in names}
    artifact.write_json(folder.manifest, told | {"files": dict(sorted(files.items()))})


def manifest(prepared: Prepared, task: Task, rows: Mapping[str, int]) -> dict[str, Any]:
    """Where all of it came from; the digests of the files are added when they stand. rows: on each side."""
    base = prepared.base
    return {
        "format": 1,
        "task": prepared.recipe.task["name"],
        "method": prepared.recipe.method["name"],
        "base": {
            "reference": base.reference,
            "name": base.name,
            "sha256": base.digest,
            "licence": base.licence,
            "hub_id": base.hub_id,
            "revision": base.revision,
            "parameters": base.parameters,
            **({"run": dict(base.run)} if base.run else {}),
        },
        "data": prepared.sources,
        **({"teacher": prepared.teacher.facts} if isinstance(prepared, LabelledRows) and prepared.teacher else {}),
        "rows": dict(rows),
        "labels": list(getattr(task, "labels", ())),
        "seed": prepared.recipe.seed,
        "hardware": hardware(),
        **({"world": prepared.recipe.cluster.plain()} if prepared.recipe.cluster.workers > 1 else {}),
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in _LIBRARIES}},
    }


def parquet(columns: Mapping[str, Any]) -> bytes:
    """Columns as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    held: bytes = sink.getvalue().to_pybytes()
    return held
