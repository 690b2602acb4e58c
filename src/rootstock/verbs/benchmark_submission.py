"""Answers to rows whose truth only the benchmark has, in the files that it takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.evaluation.suite import Member, Suite
from rootstock.verbs import benchmark_units as units
from rootstock.verbs.benchmark_rows import INDEX
from rootstock.verbs.benchmark_units import Asked, Trained

FOLDER = "submission"


def write(folder: Path, answers: Sequence[tuple[Asked, Trained]], suite: Suite) -> dict[str, Any]:
    """One TSV of index and prediction for each split; which there are, and which of the suite's are missing."""
    written = {}
    for asked, trained in answers:
        for split in asked.submitted:
            table = units.said(trained, asked, split)
            lines = (
                f"{number}\t{_spelled(said, asked.member)}"
                for number, said in zip(table.column(INDEX).to_pylist(), table.column("prediction").to_pylist(), strict=True)
            )
            name = asked.member.submission[split]
            artifact.write_text(folder / FOLDER / name, "\n".join(["index\tprediction", *lines]) + "\n")
            written[name] = len(table)
    wanted = [name for member in suite.tasks.values() for name in member.submission.values()]
    return {"folder": str(folder / FOLDER), "files": written, "missing": [name for name in wanted if name not in written], "seed": 0}


def _spelled(said: Any, member: Member) -> str:
    """A prediction as the benchmark has it; a number within what an answer can be."""
    if member.task != "regression":
        return str(said)
    low, high = member.between or (float(said), float(said))
    return f"{min(max(float(said), low), high):.3f}"
