"""Checkpoints that are complete or absent: tensors in safetensors, the rest in JSON, a digest of every file.

checkpoints/step-000200/ holds trained.safetensors (fp32 values of all that learns), optimizer.safetensors, best.safetensors (the best
values so far), random.safetensors (generator states) and state.json, whose "files" are the digests of the rest.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rootstock.core.artifact import digest_folder, digest_json, whole_folder, write_json

Parts = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """One saved moment. parts: tensors by file and name. state: plain values."""

    step: int
    parts: Parts
    state: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> None:
    """Write step-N below `folder`; only then drop the oldest beyond `keep`."""
    with whole_folder(folder / f"step-{checkpoint.step:06d}") as beside:
        for name, tensors in checkpoint.parts.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, beside / f"{name}.safetensors")
        state = {"step": checkpoint.step, **checkpoint.state, "files": digest_folder(beside)}
        write_json(beside / "state.json", state | {"digest": digest_json(state)})
    for old in saved(folder)[:-keep]:
        shutil.rmtree(old)


def forget_after(folder: Path, step: int) -> None:
    """Drop checkpoints of later steps: they were damaged, or the run that goes on will write them again."""
    for path in saved(folder):
        if _step(path) > step:
            shutil.rmtree(path)


def saved(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    return sorted(folder.glob("step-*"), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest undamaged checkpoint, and a line on each damaged one that was passed over."""
    damaged: list[str] = []
    for path in reversed(saved(folder)):
        try:
            return _read(path), damaged
        except (OSError, ValueError, KeyError) as error:
            damaged.append(f"{path.name} is damaged ({error}); using the one before it")
    return None, damaged


def _read(path: Path) -> Checkpoint:
    state = json.loads((path / "state.json").read_text("utf-8"))
    promised = state.pop("digest")
    if digest_json(state) != promised:
        raise ValueError("state.json does not match its digest")
    files = state.pop("files")
    found = {name: digest for name, digest in digest_folder(path).items() if name != "state.json"}
    if found != files:
        wrong = sorted(name for name in {*files, *found} if files.get(name) != found.get(name))
        raise ValueError(f"{', '.join(wrong)} does not match its digest")
    parts = {Path(name).stem: load_file(path / name) for name in files}
    return Checkpoint(state["step"], parts, state)


def random_state() -> dict[str, Tensor]:
    """States of torch's generators, as bytes."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_state(states: dict[str, Tensor]) -> None:
    """Bring torch's generators to a saved state."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
