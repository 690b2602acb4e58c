"""What a run has to do once it has learned, in seconds of this machine as it is now: its time is kept from a budget of minutes.

Scoring and saving are tried on a small scale; for the rest a share of what the start took is allowed, so that a busy machine keeps more.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rootstock.core import artifact
from rootstock.core.timing import timed
from rootstock.evaluation.intervals import draws, tallied
from rootstock.run import finish
from rootstock.run.build import Built
from rootstock.run.prepared import LabelledRows, Prepared

LOADED = time.monotonic()
"""When everything that a run needs was imported."""
_OF_START = 0.25
"""Card, report and the end of the process, as a share of what importing took: an allowance, not a measurement. Both are the processor's
time, so that a busy machine keeps more."""
_USUAL = 5.0
"""Seconds kept where nothing can be tried: for what is learned without labels, and for several tasks."""
_TRIED, _DRAWN = 20, 1000
"""Resamples that are timed, and those that an interval takes."""
_TRIED_BYTES = 8 << 20


class Kept(NamedTuple):
    """Seconds that are needed in any case; and passes over the validation rows, each of so many seconds until one is measured."""

    fixed: float
    passes: int
    each: float


def kept(prepared: Prepared, built: Built, predicted: dict[str, Any], folder: Path, *, started: float, written: int) -> Kept:
    """For the measurement of the best state (twice: when learning ends, and for the report; again twice for a merge), and all that follows.

    Baselines are fitted now and found again afterwards. started: time.monotonic() when the budget began. written: bytes that will be, once
    it has learned.
    """
    each = predicted["seconds_per_token"] / 3 * float(prepared.encoded_validation.lengths.sum())
    passes = 4 if prepared.recipe.merge else 2
    if not prepared.recipe.budget.minutes or not isinstance(prepared, LabelledRows):
        return Kept(_USUAL, passes, each)
    settling = _OF_START * max(LOADED - started, 0.0)
    return Kept(_scoring(prepared, built) + _saving(folder, written) + settling, passes, each)


def _scoring(prepared: LabelledRows, built: Built) -> float:
    """Resamples for all intervals, by a baseline's: of the model, of its report, and of each baseline; and these, which may be kept."""
    rivals = finish.baselines(prepared, built.before)
    _, again = timed(lambda: finish.baselines(prepared, built.before))
    if not rivals.columns:
        return _USUAL
    task = prepared.task
    columns = task.judged({name: np.asarray(each) for name, each in next(iter(rivals.columns.values())).items()})
    names = list(task.metrics(columns))
    _, tried = timed(lambda: draws(columns, tallied(task, columns, names), names=names, seed=0, resamples=_TRIED))
    return again + tried * _DRAWN / _TRIED * (2 + len(rivals.columns))


def _saving(folder: Path, written: int) -> float:
    """Writing so many bytes, and their digests, by a file of eight megabytes."""
    place = folder / ".pace.part"

    def some() -> None:
        artifact.write_bytes(place, bytes(_TRIED_BYTES))
        artifact.digest_file(place)

    _, seconds = timed(some)
    place.unlink(missing_ok=True)
    return seconds * written / _TRIED_BYTES
