"""Checkpoints that are complete or absent: tensors in safetensors, the rest in JSON, a digest of every file.

checkpoints/step-000200/ holds trained.safetensors (fp32 values of all that learns), optimizer.safetensors, best.safetensors (the best
values so far), random.safetensors (generator states) and state.json, whose "files" are the digests of the rest.

Where several workers learn, each writes a file of its own of every kind (trained.2-of-4.safetensors): some of the tensors, or its rows (or
columns) of each, as its metadata says. Any other number of workers reads them, each the rows that it needs.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rootstock.core.artifact import digest_folder, digest_json, whole_folder, write_json

Parts = Mapping[str, Mapping[str, Tensor]]
CUT = "rows"
"""In a file's metadata, as JSON: the first row of each tensor of which the file holds a part, with the axis where it is not the first."""


class Rows(NamedTuple):
    """What is held of a tensor: along which axis it is cut, the first row there, the one after the last, and how many there are."""

    start: int
    stop: int
    total: int
    axis: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """One saved moment. parts: tensors by file and name. state: plain values. rows: what is held of tensors that are cut, by parameter."""

    step: int
    parts: Parts
    state: dict[str, Any]
    rows: Mapping[str, Rows] = field(default_factory=dict)

    def own(self, rows: Mapping[str, Rows], rank: int) -> dict[str, dict[str, Tensor]]:
        """The parts in memory as a worker needs them: its rows of what is cut by parameter, all of the rest, its own generators."""
        made = {part: {key: _own(held, key, rows) for key in held} for part, held in self.parts.items()}
        made["random"] = _generators(made["random"], rank)
        return made


class Pieces(Mapping[str, Tensor]):
    """One kind of tensors from the files of several workers, read when asked for."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._held: dict[str, list[tuple[int, Path]]] = {}
        self._axes: dict[str, int] = {}
        for path in files:
            with safe_open(path, framework="pt") as opened:
                cut = json.loads((opened.metadata() or {}).get(CUT, "{}"))
                for key in opened.keys():  # noqa: SIM118  # it is no mapping
                    first, self._axes[key] = told if isinstance(told := cut.get(key, 0), list) else (told, 0)
                    self._held.setdefault(key, []).append((first, path))

    def __getitem__(self, key: str) -> Tensor:
        """The whole tensor."""
        pieces = []
        for _, path in sorted(self._held[key]):
            with safe_open(path, framework="pt") as opened:
                pieces.append(opened.get_tensor(key))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, self._axes[key])

    def part(self, key: str, cut: Rows) -> Tensor:
        """These rows of a tensor; where it is stored cut along the same axis, no other is read."""
        if cut.axis or self._axes[key]:
            return narrowed(self[key], cut)
        pieces, (start, stop) = list[Tensor](), cut[:2]
        for first, path in sorted(self._held[key]):
            with safe_open(path, framework="pt") as opened:
                held = opened.get_slice(key)
                if not held.get_shape():
                    return opened.get_tensor(key)  # type: ignore[no-any-return]
                last = first + held.get_shape()[0]
                low, high = max(start, first), min(stop, last)
                if low < high or not pieces:
                    pieces.append(held[max(low - first, 0) : max(high - first, low - first, 0)])
        return torch.cat(pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def parameter_of(key: str) -> str:
    """The parameter that a tensor belongs to: the optimizer's are called moment/parameter."""
    return key.rpartition("/")[2]


def _own(held: Mapping[str, Tensor], key: str, rows: Mapping[str, Rows]) -> Tensor:
    cut = rows.get(parameter_of(key))
    if cut is None:
        return held[key]
    if isinstance(held, Pieces):
        return held.part(key, cut)
    return narrowed(held[key], cut)


def narrowed(whole: Tensor, cut: Rows) -> Tensor:
    """What a worker holds of a whole tensor; all of a single number."""
    return whole.narrow(cut.axis, cut.start, cut.stop - cut.start) if whole.dim() else whole


def _generators(states: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The generator states that this worker had, or none where it was not there."""
    own = {key.partition("/")[0]: value for key, value in states.items() if key.endswith(f"/{rank}")}
    return own or ({key: value for key, value in states.items() if "/" not in key} if rank == 0 else {})


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> None:
    """Write step-N below `folder`; only then drop the oldest beyond `keep`."""
    with whole_folder(place(folder, checkpoint.step)) as beside:
        for name, tensors in checkpoint.parts.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, beside / f"{name}.safetensors")
        write_state(beside, checkpoint.step, checkpoint.state, digest_folder(beside))
    drop_old(folder, keep)


def place(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:06d}"


def write_state(beside: Path, step: int, state: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """What is no tensor, with the digests of the files and one of itself."""
    told = {"step": step, **state, "files": dict(files)}
    write_json(beside / "state.json", told | {"digest": digest_json(told)})


def drop_old(folder: Path, keep: int) -> None:
    """Drop the oldest checkpoints beyond `keep`."""
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
            return read(path), damaged
        except (OSError, ValueError, KeyError) as error:
            damaged.append(f"{path.name} is damaged ({error}); using the one before it")
    return None, damaged


def read(path: Path, *, checked: bool = True) -> Checkpoint:
    """One checkpoint. checked: its files are held against their digests; ValueError where one does not match."""
    state = json.loads((path / "state.json").read_text("utf-8"))
    promised = state.pop("digest")
    if digest_json(state) != promised:
        raise ValueError("state.json does not match its digest")
    files = state.pop("files")
    found = {name: digest for name, digest in digest_folder(path).items() if name != "state.json"} if checked else files
    if found != files:
        wrong = sorted(name for name in {*files, *found} if files.get(name) != found.get(name))
        raise ValueError(f"{', '.join(wrong)} does not match its digest")
    if state.get("workers", 1) == 1:
        return Checkpoint(state["step"], {Path(name).stem: load_file(path / name) for name in files}, state)
    kinds = {name.partition(".")[0]: [each for each in files if each.partition(".")[0] == name.partition(".")[0]] for name in files}
    return Checkpoint(state["step"], {kind: Pieces(path / name for name in sorted(names)) for kind, names in kinds.items()}, state)


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
