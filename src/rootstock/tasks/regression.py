"""Give a text, or a pair of texts, a number.

Prefer text-classification where the numbers are only names of classes; prefer this one where their distances matter
(similarity, stars, prices). Needs a text column (two for pairs) and a numeric label column.
Trains on squared error in standard deviations, so that the unit of the labels does not matter; the kept model answers in their own unit.
"""

from collections.abc import Collection
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import PrivateAttr
from torch import Tensor, nn

from rootstock.core.errors import BaseError, DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, ROW, Columns, Encoded, column
from rootstock.core.seed import Draw
from rootstock.core.tally import Tally
from rootstock.core.task import Batch, Kind, Scored
from rootstock.tasks import _scores, _text

_MOST, _LEAST_SPREAD = 1e30, 1e-6
"""Largest label, and smallest spread beside the mean, that 32-bit arithmetic carries."""


class Regression(Scored):
    """One number a row, in the unit of the label column."""

    _center: float = PrivateAttr(0.0)
    _scale: float = PrivateAttr(1.0)

    @property
    def kind(self) -> Kind:
        """A number a row."""
        return "number"

    @property
    def headline(self) -> tuple[str, ...]:
        """Rank agreement first: it does not depend on the unit."""
        return ("spearman", "pearson")

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The rank agreement, then the smaller error."""
        return self.headline[0], "root_mean_squared_error"

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Numbers with fractions, or many different whole ones, suit."""
        labels = column(rows, LABEL)
        if not labels or isinstance(labels[0], list):
            return 0.0
        values = _text.numbers(labels, finite=False)
        return 0.0 if values is None else 0.5

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Learn centre and scale; a label that is no number, or one value only, is a DataError."""
        _values(validation)
        values_N = _values(train)
        if len(np.unique(values_N)) < 2:
            raise DataError(
                f"every training label is {values_N[0]:g}" if len(values_N) else "there is no training row",
                wanted="labels that differ",
                fix="check --label",
            )
        center, scale = float(values_N.mean()), float(values_N.std())
        if scale < _LEAST_SPREAD * abs(center) or scale * _MOST < 1:
            raise DataError(
                f"the training labels spread by {scale:.2g} around {center:.6g}",
                wanted="labels that 32-bit numbers can tell apart",
                fix="subtract a constant from them, or give them in another unit",
            )
        return self._measured_in(center, scale)

    def head(self) -> Head:
        """A sequence classifier with one output."""
        return Head(auto="AutoModelForSequenceClassification", options={"num_labels": 1, "problem_type": "regression"})

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Token ids, with labels [N] where the rows have them."""
        return _text.encode_texts(rows, tokenizer, length, self.answers(rows) if LABEL in rows.column_names else None)

    def answers(self, rows: pa.Table) -> np.ndarray:
        """The labels [N] as float32."""
        return _values(rows).astype(np.float32)

    def truth(self, rows: pa.Table) -> list[Any]:
        """The labels as numbers."""
        return [float(value) for value in column(rows, LABEL)]

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Padded to the longest of the chosen rows."""
        return _text.pad_batch(encoded, rows, tokenizer)

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """The predicted number [B, 1]: in standard deviations from the mean while training, in the labels' unit after."""
        return _text.logits(model, batch)

    def losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """Squared error in standard deviations."""
        return (scores[:, 0] - (batch["labels"] - self._center) / self._scale).square()

    def items(self, batch: Batch) -> Tensor:
        """The row itself."""
        return torch.ones_like(batch["labels"], dtype=torch.long)

    def taught(self, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Squared distance in standard deviations from the teacher's number, which is in the labels' unit. A number has no temperature."""
        return (scores - (wanted - self._center) / self._scale)[:, 0].square()

    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """The predicted number as scores [B, 1], in the labels' unit."""
        return {"scores": (self.scores(model, batch) * self._scale + self._center).detach().cpu().numpy()}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Spearman, Pearson, R², mean absolute and root mean squared error."""
        return _scores.number_metrics(columns["scores"], columns["answers"], names)

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return _scores.number_tally(columns["scores"], columns["answers"], names)

    def details(self, columns: Columns) -> dict[str, Any]:
        """Predicted against true values, and the residuals."""
        return _scores.number_details(columns["scores"], columns["answers"])

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """The predicted number."""
        return {"predicted": np.asarray(columns["scores"])[:, 0].tolist()}

    def check(self, model: nn.Module) -> None:
        """The last layer needs a bias to hold the labels' mean."""
        if _last(model).bias is None:
            raise BaseError("the head of this base has no bias, so it can't hold the labels' mean", fix="choose an encoder such as minilm")

    def settle(self, model: nn.Module, fresh: Collection[str]) -> Self:
        """Fold centre and scale into the last linear layer, so that plain transformers answers in the labels' unit."""
        last = _last(model)
        with torch.no_grad():
            last.weight.mul_(self._scale)
            last.bias.mul_(self._scale).add_(self._center)
        return self._measured_in(0.0, 1.0)

    def _measured_in(self, center: float, scale: float) -> Self:
        """Mean and standard deviation of the training labels while training; 0 and 1 once they are part of the weights."""
        made = self.model_copy()
        made._center, made._scale = center, scale
        return made


def _last(model: nn.Module) -> nn.Linear:
    return [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 1][-1]


def _values(rows: pa.Table) -> np.ndarray:
    found = []
    for value, row in zip(column(rows, LABEL), column(rows, ROW), strict=True):
        number = _text.numbers([value])
        if number is None or abs(number[0]) > _MOST:
            raise DataError(
                f"row {row}: the label {value!r} is no finite number" + (" of ordinary size" if number else ""),
                wanted="a number in every row",
                fix="correct the row, or check --label; names are learned with --task text-classification",
            )
        found.append(number[0])
    return np.array(found, dtype=np.float64)
