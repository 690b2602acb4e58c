"""A model and its tokenizer in the ecosystem's own format: safetensors and JSON, loadable without Rootstock."""

from pathlib import Path
from typing import Any

from rootstock.bases.load import quiet
from rootstock.core.artifact import writing
from rootstock.core.errors import RunFailed
from rootstock.sentinel.gate import pickles


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write both into a folder that the caller made, within whole_folder where it must be whole or absent. tokenizer: None for images.

    Raises WriteFailed for a full disk, RunFailed where a pickled file was written.
    """
    with quiet(), writing(folder):
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    if found := pickles(folder):
        raise RunFailed(f"{folder}: {', '.join(found)} would have to be unpickled", wanted="safetensors and JSON only")
