"""Checkpoints of several workers: each writes its share while the training goes on; together they are whole or absent.

What is saved is copied first, so that the next update may change it. A thread writes the copy and talks to those of the other workers
through a group of its own. torch.distributed.checkpoint would do the same with a file of pickled metadata, and pickled plans between the
workers; what is written and sent here is safetensors and JSON.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from rootstock.core.artifact import digest_file, sync, writing
from rootstock.core.errors import WriteFailed
from rootstock.loop.checkpoint import CUT, Checkpoint, Rows, drop_old, parameter_of, place, write_state
from rootstock.loop.crew import shares
from rootstock.loop.world import World


class Saver:
    """Writes step-N below `folder`, one at a time; the oldest beyond `keep` go when a new one is there. All workers call it together."""

    def __init__(self, folder: Path, keep: int, world: World) -> None:
        self._folder, self._keep, self._world = folder, keep, world
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._going: Future[None] | None = None

    def save(self, moment: Checkpoint) -> None:
        """Copy this worker's share and return; WriteFailed where the one before could not be written."""
        self.wait()
        parts = {kind: dict(self._copied(kind, moment)) for kind in moment.parts}
        state = {**moment.state, "workers": self._world.size}
        self._going = self._pool.submit(self._write, moment.step, parts, moment.rows, state)

    def wait(self) -> None:
        """Until the last one is written."""
        if self._going is not None:
            going, self._going = self._going, None
            going.result()

    def close(self) -> None:
        """Write the last one out, and end the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def _copied(self, kind: str, moment: Checkpoint) -> Iterator[tuple[str, Tensor]]:
        """Copies of this worker's share of one kind of tensors."""
        world, tensors = self._world, moment.parts[kind]
        if kind == "random":  # each has generators of its own
            yield from ((f"{key}/{world.rank}", value.clone()) for key, value in tensors.items())
            return
        cut = {key for key, value in tensors.items() if parameter_of(key) in moment.rows and value.dim()}
        whole = shares({key: value.numel() for key, value in tensors.items() if key not in cut}, world.size)[world.rank]
        for key in (*sorted(cut), *whole):
            yield key, tensors[key].detach().to("cpu", copy=True).contiguous()

    def _write(self, step: int, parts: Mapping[str, Mapping[str, Tensor]], rows: Mapping[str, Rows], state: dict[str, Any]) -> None:
        world, target = self._world, place(self._folder, step)
        beside, told = target.with_name(f".{target.name}.part"), {"files": {}, "found": "", "fix": ""}
        try:
            with writing(target):
                if world.first:
                    shutil.rmtree(beside, ignore_errors=True)
                    beside.mkdir(parents=True)
        except WriteFailed as error:
            told |= {"found": error.found, "fix": error.fix}
        world.texts("", world.saving)
        try:
            with writing(target):
                told["files"] = self._files(beside, parts, rows) if not told["found"] else {}
        except WriteFailed as error:
            told |= {"found": error.found, "fix": error.fix}
        all_told = [json.loads(text) for text in world.texts(json.dumps(told), world.saving)]
        failed = next((each for each in all_told if each["found"]), None)
        if world.first:
            if failed:
                shutil.rmtree(beside, ignore_errors=True)
            else:
                self._complete(target, beside, (step, state, {name: digest for each in all_told for name, digest in each["files"].items()}))
        world.texts("", world.saving)
        if failed:
            raise WriteFailed(failed["found"], fix=failed["fix"])

    def _files(self, beside: Path, parts: Mapping[str, Mapping[str, Tensor]], rows: Mapping[str, Rows]) -> dict[str, str]:
        """Write this worker's files; their digests by name."""
        made = {}
        for kind, tensors in parts.items():
            path = beside / f"{kind}.{self._world.rank + 1}-of-{self._world.size}.safetensors"
            cut = {key: rows[parameter_of(key)] for key, value in tensors.items() if parameter_of(key) in rows and value.dim()}
            first = {key: [each.start, each.axis] if each.axis else each.start for key, each in cut.items()}
            save_file(dict(tensors), path, metadata={CUT: json.dumps(first)})
            sync(path)
            made[path.name] = digest_file(path)
        return made

    def _complete(self, target: Path, beside: Path, told: tuple[int, dict[str, Any], dict[str, str]]) -> None:
        """The first worker's part: what all have written becomes a checkpoint."""
        with writing(target):
            write_state(beside, *told)
            sync(beside)
            if target.exists():
                shutil.rmtree(target)
            beside.rename(target)
            sync(target.parent)
            drop_old(self._folder, self._keep)
