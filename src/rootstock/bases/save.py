"""A model and its tokenizer in the ecosystem's own format: safetensors and JSON, loadable without Rootstock."""

import json
from pathlib import Path
from typing import Any

from rootstock.bases.load import quiet
from rootstock.core.artifact import write_json, writing
from rootstock.core.errors import RunFailed
from rootstock.sentinel.gate import pickles

_OF_LOADING = ("is_local", "local_files_only")


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write both into a folder that the caller made, within whole_folder where it must be whole or absent. tokenizer: None for images.

    Raises WriteFailed for a full disk, RunFailed where a pickled file was written.
    """
    with quiet(), writing(folder):
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
            _forget_origin(folder / "tokenizer_config.json")
    if found := pickles(folder):
        raise RunFailed(f"{folder}: {', '.join(found)} would have to be unpickled", wanted="safetensors and JSON only")


def _forget_origin(path: Path) -> None:
    """Take out how the tokenizer was loaded here, which transformers writes down as if it were the tokenizer's own."""
    told = json.loads(path.read_text("utf-8"))
    write_json(path, {name: value for name, value in told.items() if name not in _OF_LOADING})
