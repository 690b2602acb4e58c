"""What a model must meet again to give the same answers: written beside it, so that it can travel without its run, and checked at load.

An adapter is nothing without its base, a model little without its tokenizer, its label names and the length that it was trained at.
Whatever is another by now is refused, with what was found and what is wanted: weights and tokenizer where bases are opened, which every
verb does; base, labels and length here.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rootstock.bases.resolve import Resolved, adapter_settings
from rootstock.core import artifact
from rootstock.core.errors import ContractRefused
from rootstock.core.runfolder import CONTRACT
from rootstock.core.task import Labelled, Task
from rootstock.run import choices
from rootstock.run.build import Built
from rootstock.run.prepared import Prepared


def made(prepared: Prepared, built: Built, task: Task) -> dict[str, Any]:
    """The contract of a run's model; `write` adds the digests of its weights."""
    return {
        "base": {
            "reference": prepared.recipe.base,
            "sha256": prepared.base.digest,
            "hub_id": prepared.base.hub_id,
            "revision": prepared.base.revision,
        },
        "tokenizer_sha256": built.tokenizer_sha256,
        **({"added": list(prepared.base.added)} if prepared.base.added else {}),
        "labels": list(getattr(task, "labels", ())),
        "length": prepared.length,
        "precision": prepared.recipe.training.precision,
        "method": prepared.recipe.method,
        "task": prepared.recipe.task,
        "saves": prepared.saves,
        "fresh": sorted(prepared.method.original(name) for name in built.fresh),
    }


def write(contract: dict[str, Any], folder: Path) -> None:
    """Put a contract beside the weights that it is about. Of an adapter it also tells the settings by which these are read."""
    weights = {path.name: artifact.digest_file(path) for path in sorted(folder.glob("*.safetensors"))}
    settings, kept = adapter_settings(folder), {key: value for key, value in contract.items() if key != "settings"}
    artifact.write_json(folder / CONTRACT, kept | {"weights": weights} | ({"settings": settings} if settings else {}))


def digest(labels: Sequence[str]) -> str:
    """What tells two sets of label names apart: the names and their order."""
    return artifact.digest_json(list(labels))


def check_labels(contract: dict[str, Any], folder: Path, task: Labelled) -> None:
    """Raise ContractRefused where the label names of a folder are not those of its contract."""
    for place, labels in _named(folder, task):
        if list(labels) != contract["labels"]:
            raise ContractRefused(
                f"{place} has the labels {_shown(labels)}, of the digest {digest(labels)}",
                wanted=f"{_shown(contract['labels'])}, of the digest {digest(contract['labels'])}",
                fix="restore the folder: answers would get wrong names",
            )


def _named(folder: Path, task: Labelled) -> list[tuple[str, Sequence[str]]]:
    """Where label names stand beside the contract's own, and which: in the task's settings, and in config.json."""
    settings = getattr(task, "labels", None)
    config = json.loads((folder / "config.json").read_text("utf-8")) if (folder / "config.json").is_file() else {}
    usual = {str(number): f"LABEL_{number}" for number in range(len(settings or ()))}  # which transformers leaves out of the file
    names = config.get("id2label") or usual
    said = [names[key] for key in sorted(names, key=int)] if settings and "id2label" in task.head().options else None
    places = (f"the task in {folder / CONTRACT}", settings), (str(folder / "config.json"), said)
    return [(place, labels) for place, labels in places if labels is not None]


def check_base(contract: dict[str, Any], base: Resolved, meant: str) -> None:
    """Raise ContractRefused where the base is another by now, or takes fewer tokens than are kept of a row. meant: what it has to be."""
    wanted = contract["base"]["sha256"]
    if base.digest != wanted:
        raise ContractRefused(
            f"the base {base.name} has the digest {base.digest}",
            wanted=f"{wanted}, the base that this {meant}",
            fix="use that base, or train again on this one",
        )
    if contract["length"] and contract["length"] > (room := choices.room(base)):
        raise ContractRefused(
            f"the base {base.name} takes {room} tokens of a row",
            wanted=f"{contract['length']}, as many as were kept when this {meant}",
            fix="restore the base's config.json and tokenizer_config.json, or train again",
        )


def _shown(labels: Sequence[str], most: int = 8) -> str:
    return ", ".join(labels[:most]) + (" …" if len(labels) > most else "")
