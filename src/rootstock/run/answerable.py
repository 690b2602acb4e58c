"""Labelled rows that a run can be asked: those whose every label it has learned."""

import pyarrow as pa

from rootstock.core.errors import DataError
from rootstock.core.rows import LABEL, ROW, column
from rootstock.core.task import Labelled
from rootstock.core.watch import Say


def answerable(rows: pa.Table, task: Labelled, *, leave_out: bool, say: Say) -> tuple[pa.Table, int]:
    """The rows whose labels, or tags, training had, and how many others there are; these are named. All rows unless they are left out.

    Raises DataError where no row is left.
    """
    known = frozenset(getattr(task, "labels", ()))
    if not leave_out or not known:
        return rows, 0
    strange = [[name for name in task.names(label) if name not in known] for label in column(rows, LABEL)]
    left = rows.filter(pa.array([not names for names in strange], pa.bool_()))
    lost = [(row, names[0]) for row, names in zip(column(rows, ROW), strange, strict=True) if names]
    if not len(left):
        wanted = f"labels such as {min(known)!r}"
        raise DataError("no row has a label that the run has learned", wanted=wanted, fix="name another file")
    if lost:
        row, name = lost[0]
        share = f"{len(lost):,} of {len(rows):,} rows have a label that no training row had"
        say(f"data      {share} and are left out, such as row {row}: {name!r}")
    return left, len(lost)
