"""A model and its tokenizer in the ecosystem's own format: safetensors and JSON, loadable without Rootstock."""

import contextlib
import copy
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from rootstock.bases.load import quiet
from rootstock.core.artifact import digest_file, write_json, writing
from rootstock.core.errors import RunFailed
from rootstock.core.heads import Heads
from rootstock.sentinel.gate import INDEX, WEIGHTS, pickles

_OF_LOADING = ("is_local", "local_files_only")
_SHARED, _OWN = "shared.safetensors", "own.safetensors"


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write both into a folder that the caller made, within whole_folder where it must be whole or absent. tokenizer: None for images.

    Raises WriteFailed for a full disk, RunFailed where a pickled file was written.
    """
    with quiet(), writing(folder):
        # peft would put a whole table beside an adapter once it has grown
        model.save_pretrained(folder, **({"save_embedding_layers": False} if hasattr(model, "peft_config") else {}))
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
            _forget_origin(folder / "tokenizer_config.json")
    if found := pickles(folder):
        raise RunFailed(f"{folder}: {', '.join(found)} would have to be unpickled", wanted="safetensors and JSON only")


def _forget_origin(path: Path) -> None:
    """Take out how the tokenizer was loaded here, which transformers writes down as if it were the tokenizer's own."""
    told = json.loads(path.read_text("utf-8"))
    write_json(path, {name: value for name, value in told.items() if name not in _OF_LOADING})


def split(folder: Path, shared: Collection[str], *, under: str = "") -> None:
    """Part the weights of a saved model in two files: those that others have as well, and its own. transformers reads both by an index.

    under: put before each name.
    """
    whole = folder / WEIGHTS
    state = {f"{under}{name}": tensor for name, tensor in load_file(whole).items()}
    places = {name: _SHARED if name in shared else _OWN for name in sorted(state)}
    with writing(folder):
        for place in sorted(set(places.values())):
            save_file({name: state[name] for name in places if places[name] == place}, folder / place, metadata={"format": "pt"})
        size = sum(tensor.nbytes for tensor in state.values())
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": places})
        whole.unlink()


def save_body(heads: Heads, tokenizer: Any, folder: Path) -> None:
    """The body of several models as a base, under the names that its weights have in the first of them."""
    first = heads.alone(heads.names[0])
    prefix = first.base_model_prefix
    config = copy.deepcopy(first.config)
    names = {number: f"LABEL_{number}" for number in range(2)}  # those of a base without a head
    config.id2label, config.label2id, config.problem_type = names, {name: number for number, name in names.items()}, None
    body = copy.copy(heads.body)
    body.config = config
    save_model(body, tokenizer, folder)
    split(folder, {f"{prefix}.{name}" for name in heads.shared()}, under=f"{prefix}.")


def link_equal(folders: Iterable[Path]) -> None:
    """Keep equal weight files of these folders on the disk once, where its file system has hard links."""
    first: dict[str, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.safetensors"))):
        kept = first.setdefault(digest_file(path), path)
        if kept is not path:
            beside = path.with_name(f".{path.name}.part")
            with contextlib.suppress(OSError):
                os.link(kept, beside)
                beside.replace(path)
