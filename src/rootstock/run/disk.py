"""What a run will write, counted before a step is taken: the disk must have room for it, and a budget of minutes time."""

import shutil
from pathlib import Path
from typing import Any

from rootstock.core.aside import OLD
from rootstock.core.errors import WriteFailed
from rootstock.core.watch import Say
from rootstock.loop.train import Training
from rootstock.run.build import Built
from rootstock.run.prepared import Prepared

_FP32 = 4
_MUCH = 1_000_000_000
"""Bytes from which on a run says what it will write."""
_BESIDE = 20_000_000
"""For all that is no tensor: the report, predictions, history."""


class Writes:
    """Made while the model is whole: its embeddings are trimmed while it learns."""

    def __init__(self, prepared: Prepared, built: Built) -> None:
        self._prepared = prepared
        admission, folder = prepared.base.admission, prepared.base.folder
        files = [name for name in (admission.files if admission else ()) if name.endswith(".safetensors")]
        base = sum((folder / name).stat().st_size for name in files) if folder else 0
        self._whole = max(_FP32 * sum(p.numel() for p in built.learner.parameters()), base)
        self._parted = _FP32 * sum(p.numel() for p in built.learner.parameters() if p.requires_grad) if built.shards else None

    def moment(self, training: Training) -> int:
        """Bytes of a checkpoint: values, two moments, the best values, and a mean of them where one is kept."""
        return self._learns(training) * (5 if training.job.settings.average != "none" else 4)

    def model(self, training: Training) -> int:
        """Bytes of what is left: what learned or the whole model, and the whole beside an adapter that is folded in."""
        if self._prepared.saves != "adapter":
            return self._whole
        return self._learns(training) + (self._whole if self._prepared.recipe.merge else 0)

    def _learns(self, training: Training) -> int:
        return self._parted or _FP32 * training.learns  # of all workers, which write to one place

    def check(self, training: Training, predicted: dict[str, Any], folder: Path, say: Say) -> None:
        """Count it into `predicted` as disk_bytes, say it where it is much; WriteFailed where the disk has less."""
        settings, moment, model = training.job.settings, self.moment(training), self.model(training)
        if settings.checkpoint_steps:
            written = training.total // settings.checkpoint_steps
        else:
            written = int(2 * predicted["seconds"] / 60 / settings.checkpoint_minutes)  # a busy machine takes twice as long
        kept = min(settings.keep + 1, max(written, 1))  # the oldest goes when a new one is there; a signal writes one in any case
        # A run that goes on writes over its own checkpoints; what it replaces goes with its first update.
        places = (folder / "checkpoints", folder / OLD)
        replaced = sum(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file())
        needed, free = kept * moment + model + _BESIDE, shutil.disk_usage(folder).free + replaced
        predicted["disk_bytes"] = needed
        parts = f"{kept} checkpoint{'s' if kept > 1 else ''} of {moment / 1e9:.1f} GB, {model / 1e9:.1f} GB of what is left"
        if needed > free:
            raise WriteFailed(
                f"{folder} has {free / 1e9:.1f} GB free, and this run writes up to {needed / 1e9:.1f} GB: {parts}",
                wanted="room for it",
                fix="free some space, write elsewhere with --out, or keep fewer checkpoints with --set training.keep=1",
            )
        if needed > _MUCH:
            say(f"disk      up to {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB free: {parts}")
