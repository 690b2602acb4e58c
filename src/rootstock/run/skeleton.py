"""A frozen base with its features cached needs no model any more: its kept form, without the head, lies in the cache as well.

Reading it takes a tenth of a second; importing the libraries that would build it again takes seconds.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.errors import WriteFailed
from rootstock.core.method import zeroed
from rootstock.core.resources import cache_folder
from rootstock.run.prepared import Prepared


@dataclass(frozen=True)
class Skeleton:
    """Everything of a model folder but the head. facts: the tap's key, the head's name and width, the tokenizer's digest."""

    folder: Path
    facts: dict[str, Any]

    def head(self, outputs: int) -> nn.Linear:
        """A fresh linear head, as feature extraction starts with."""
        return zeroed(nn.Linear(self.facts["width"], outputs))

    def write(self, folder: Path, head: nn.Module, options: dict[str, Any]) -> None:
        """A whole model folder: base, trained head, and the config with the task's labels."""
        tensors = load_file(self.folder / "body.safetensors")
        tensors |= {f"{self.facts['head']}.{name}": value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        names = options.get("id2label") or {i: f"LABEL_{i}" for i in range(options["num_labels"])}
        config |= {"id2label": {str(i): name for i, name in names.items()}, "label2id": {name: i for i, name in names.items()}}
        artifact.write_json(folder / "config.json", config | {"problem_type": options["problem_type"]})
        for path in sorted((self.folder / "tokenizer").iterdir()):
            artifact.write_bytes(folder / path.name, path.read_bytes())


def find(prepared: Prepared) -> Skeleton | None:
    """The skeleton for this base and method, where there is an undamaged one."""
    folder = _folder(prepared)
    if prepared.method.warm_up():  # its base is another for other rows
        return None
    try:
        facts = json.loads((folder / "facts.json").read_text("utf-8"))
        files = {name: digest for name, digest in artifact.digest_folder(folder).items() if name != "facts.json"}
    except (OSError, ValueError):
        return None
    return Skeleton(folder, facts) if files == facts["files"] else None


def keep(prepared: Prepared, model_folder: Path, facts: dict[str, Any]) -> None:
    """Put a written model folder into the cache without its head; a cache that can't be written is no reason to fail."""
    try:
        tensors = load_file(model_folder / "model.safetensors")
        with artifact.whole_folder(_folder(prepared)) as beside:
            (beside / "tokenizer").mkdir()
            for path in model_folder.iterdir():
                if path.name.startswith(("tokenizer", "special_tokens", "vocab", "merges", "added_tokens")):
                    (beside / "tokenizer" / path.name).write_bytes(path.read_bytes())
            save_file(
                {name: value for name, value in tensors.items() if not name.startswith(f"{facts['head']}.")}, beside / "body.safetensors"
            )
            (beside / "config.json").write_bytes((model_folder / "config.json").read_bytes())
            artifact.write_json(beside / "facts.json", facts | {"files": artifact.digest_folder(beside)})
    except (WriteFailed, SafetensorError, OSError):
        return


def _folder(prepared: Prepared) -> Path:
    base, head = prepared.base, prepared.task.head()
    method = [catalog.name_of("methods", type(prepared.method)), prepared.method.plain()]
    files = {name: digest for name, digest in (base.admission.files if base.admission else {}).items() if not name.endswith(".safetensors")}
    # A fine-tuned base keeps its trained head for the labels that it knows.
    labels = head.options if base.fine_tuned else None
    key = {"base": base.digest, "files": files, "method": method, "auto": head.auto, "labels": labels, "version": 2}
    return cache_folder() / "skeletons" / artifact.digest_json(key)
