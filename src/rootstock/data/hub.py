"""hf:<dataset>[:configuration][:split]: data sets of the hub, or of a local folder, through the package `datasets`."""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from rootstock.core.artifact import digest_bytes
from rootstock.core.errors import DataError, nearest
from rootstock.data.columnar import class_names, typed
from rootstock.data.tables import Parsed

PREFIX = "hf:"
FORM = "hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIGURATION:SPLIT"
_OFFLINE = "offline, give a local file, hf:FOLDER with the data set's files, or stdlib-docs"


def read_hub(reference: str) -> tuple[Parsed, str]:
    """One split as a table (train where none is named), and the digest of its rows."""
    name, configuration, split = parts_of(reference)
    found = _load(name, configuration, reference)
    splits = dict(found) if isinstance(found, dict) else {"train": found}
    split = split or ("train" if "train" in splits else next(iter(splits)))
    if split not in splits:
        near = nearest(split, splits)
        raise DataError(
            f"{reference}: there is no split {split!r}",
            wanted=f"one of {', '.join(splits)}",
            fix=f"did you mean {':'.join(filter(None, (f'{PREFIX}{name}', configuration, near)))}?" if near else "",
        )
    table = splits[split].with_format("arrow")[:]
    parsed = typed(table, reference, kind="hf", classes=class_names(splits[split].features.arrow_schema.metadata or {}))
    notes = (f"data set {name}, split {split} of {', '.join(splits)}", *parsed.notes[1:])
    return Parsed(parsed.table, "hf", notes), digest_table(parsed.table)


def parts_of(reference: str) -> tuple[str, str, str]:
    """Name, configuration and split of a reference; "" for those that are not given."""
    name, *parts = reference.removeprefix(PREFIX).split(":")
    if not name or len(parts) > 2:
        raise DataError(f"{reference!r} names no data set", wanted=FORM)
    return (name, parts[0], parts[1]) if len(parts) == 2 else (name, "", parts[0] if parts else "")


def open_set(name: str, configuration: str, *, streaming: bool = False) -> Any:
    """A data set by its name, or one that `save_to_disk` wrote, as `datasets` gives it."""
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    if not any(Path(name, each).is_file() for each in ("state.json", "dataset_dict.json")):
        return datasets.load_dataset(name, configuration or None, streaming=streaming)
    if configuration:
        raise DataError(f"{PREFIX}{name}: a saved data set has no configurations", wanted="hf:FOLDER or hf:FOLDER:SPLIT")
    return datasets.load_from_disk(name)


def _load(name: str, configuration: str, reference: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(f"{reference} needs the package datasets", fix=f"pip install datasets; {_OFFLINE}") from None
    try:
        return open_set(name, configuration)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{reference} could not be loaded: {reason}", wanted=FORM, fix=f"check the name; {_OFFLINE}") from None


def digest_table(table: pa.Table) -> str:
    """sha256 of a table's columns in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return digest_bytes(sink.getvalue().to_pybytes())
