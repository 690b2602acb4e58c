"""A task of each kind that only knows its answers and its figures."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, TEXT
from rootstock.core.task import Labelled
from rootstock.tasks import _scores

_FIGURES = {"class": _scores.class_metrics, "classes": _scores.label_set_metrics, "number": _scores.number_metrics}
_TALLIES = {"class": _scores.class_tally, "classes": _scores.label_set_tally, "number": _scores.number_tally}
_HEADLINES = {"class": ("accuracy", "macro_f1"), "classes": ("micro_f1", "macro_f1"), "number": ("spearman", "pearson")}


class FakeTask(Labelled):
    """Labels are class indices, 0/1 lists or numbers already."""

    of: str = "class"
    classes: int = 2

    @property
    def kind(self) -> str:
        return self.of

    @property
    def headline(self) -> tuple[str, ...]:
        return _HEADLINES[self.of]

    @property
    def chosen_by(self) -> tuple[str, ...]:
        return self.headline

    def head(self) -> Head:
        return Head(auto="", options={"num_labels": self.classes})

    def answers(self, rows: pa.Table) -> np.ndarray:
        return np.array(rows.column(LABEL).to_pylist())

    def metrics(self, columns: Any, names: Any = None) -> dict[str, float]:
        return _FIGURES[self.of](columns["scores"], columns["answers"], names)

    def tally(self, columns: Any, names: Any) -> Any:
        return _TALLIES[self.of](columns["scores"], columns["answers"], names)

    def _unused(self, *_: Any) -> Any:
        raise NotImplementedError

    claims = fit = encode = collate = loss = decode = details = readable = truth = _unused


@pytest.fixture
def fake_task():
    return FakeTask


@pytest.fixture
def texts():
    """A table from texts (or pairs of texts) and labels."""

    def made(rows: list[Any], labels: list[Any]) -> pa.Table:
        if rows and isinstance(rows[0], tuple):
            return pa.table({TEXT: [a for a, _ in rows], "text_pair": [b for _, b in rows], LABEL: labels})
        return pa.table({TEXT: pa.array(rows, pa.string()), LABEL: labels})

    return made
