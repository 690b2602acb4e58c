"""What lies in a model's folder, a run's, or one file: its tensors, and the words of the tokenizer beside them."""

import json
from pathlib import Path

from rootstock.core.errors import UsageError
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.integrity.tensors import Stored, stored


def model(place: Path) -> dict[str, Stored]:
    """All tensors of a model's folder, of a run's model, or of one file. Raises UsageError where they can't be read."""
    folder = place / "model" if (place / "model").is_dir() else place
    if (place / "merged").is_dir() and not list(folder.glob("model*.safetensors")):
        folder = place / "merged"
    paths = [place] if place.is_file() else sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UsageError(f"{place} holds no safetensors weights", wanted="a model's folder, a run, or a file", fix="check the path")
    try:
        return {name: each for path in paths for name, each in stored(path).items()}
    except Malformed as damage:
        raise UsageError(f"{place} can't be compared: {damage.what}", wanted="weights that are whole") from damage


def vocabulary(place: Path) -> dict[int, str]:
    """Id to token of the tokenizer beside a model; empty where there is none that can be read."""
    for folder in (place, place / "model", place / "merged"):
        try:
            inner = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
        if isinstance(inner, dict):
            return {number: word for word, number in inner.items() if isinstance(number, int)}
        if isinstance(inner, list):
            return {number: str(pair[0]) for number, pair in enumerate(inner) if isinstance(pair, list) and pair}
    return {}
