"""Answers of a training on the rows of a part, as a file of tensors: what figures are made of, a row each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.rows import Columns
from rootstock.core.task import Labelled
from rootstock.evaluation.paired import Answered

_LENGTHS = "#lengths"
"""What the name of the lengths of ragged rows ends in: choices, of which each question has as many as it has."""


def write(path: Path, columns: Columns) -> None:
    """Write down columns of numbers; of ragged ones the numbers in a row, and how many each has. Texts make no figure and are left out."""
    held: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        if values.dtype.kind in "biuf":
            held[name] = np.ascontiguousarray(values)
        elif values.dtype.kind == "O" and all(np.asarray(row).dtype.kind in "biuf" for row in values):
            rows = [np.atleast_1d(np.asarray(row)) for row in values]
            held[name], held[name + _LENGTHS] = np.concatenate(rows), np.array([len(row) for row in rows], np.int64)
    artifact.write_bytes(path, save(held))


def read(path: Path, task: Mapping[str, Any]) -> Answered:
    """Answers that were written, with their task."""
    return Answered(columns(path), task_of(task))


def task_of(told: Mapping[str, Any]) -> Labelled:
    """The task that a recipe's section names."""
    settings = dict(told)
    made: Labelled = catalog.find("tasks", settings.pop("name")).build(settings, "task")
    return made


def columns(path: Path) -> Columns:
    """Columns as they were written."""
    held = load_file(path)
    found: dict[str, np.ndarray] = {}
    for name, values in held.items():
        if (lengths := held.get(name + _LENGTHS)) is not None:
            found[name] = np.fromiter(np.split(values, np.cumsum(lengths)[:-1]), object, len(lengths))
        elif not name.endswith(_LENGTHS):
            found[name] = values
    return found
