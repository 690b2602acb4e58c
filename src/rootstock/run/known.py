"""Rows that a base had learned before it came here: a run keeps digests of its own."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from rootstock.core.runfolder import RunFolder
from rootstock.run.finish import seen_keys
from rootstock.run.use import Run


def known(reference: str, rows: pa.Table) -> np.ndarray:
    """Whether the base, if it is a run, learned from each row, [N]: in any of its stages, in any of its tasks.

    Of what was learned without labels, and of what the run's own base had read before, nothing is known.
    """
    whole = RunFolder(Path(reference).expanduser())
    stages = (whole.staged or [whole]) if whole.complete else []
    runs = [each for stage in stages for each in ([stage.part(name) for name in stage.parts] or [stage])]
    learned = [seen["rows"] for each in runs if (seen := Run(each.path).seen())]
    return np.isin(seen_keys(rows), np.concatenate(learned)) if learned else np.zeros(len(rows), bool)
