"""Name the class, or the classes, of a text or a pair of texts.

Prefer regression where labels are amounts; prefer this one where they are names, even if the names are digits.
Needs a text column (two for pairs) and a label column: one name a row, or a list of names (several labels a row).
The loss is cross-entropy over the classes, or binary cross-entropy for each label where rows hold several.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, ROW, WORDS, Columns, Encoded, column, spell
from rootstock.core.seed import Draw
from rootstock.core.tally import Tally
from rootstock.core.task import Batch, Kind, Loss, Scored
from rootstock.tasks import _losses, _scores, _text

_SEPARATORS = ("|", ";")
_MANY = 1000


class TextClassification(Scored):
    """Label names come from the training rows and survive to config, predictions and report."""

    encodes_alike: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    """Label names in the order of the model's outputs. Empty: found in the training rows."""
    several: Literal["auto", "yes", "no"] = "auto"
    """Whether a row can hold several labels at once. auto: yes where the column holds lists, or names joined by | or ;."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced weights each class by the inverse of its share, for rare classes that matter as much as frequent ones."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the answer that is spread over all classes, for labels that are sometimes wrong. One class a row only."""
    focal: float = Field(default=0.0, ge=0)
    """Exponent by which rows that are answered well already count less (focal loss); 0 is off, 2 is usual where classes are rare."""
    r_drop: float = Field(default=0.0, ge=0)
    """Weight of the distance between two answers to the same row under different dropout (R-Drop); 0 is off. It needs training.dropout."""
    weights: tuple[float, ...] = ()
    """Weight of each class in the loss; filled in by class_weights."""

    @property
    def kind(self) -> Kind:
        """One class a row, or several."""
        return "classes" if self.several == "yes" else "class"

    @property
    def headline(self) -> tuple[str, ...]:
        """Accuracy leads for one class a row, micro-averaged F1 for several."""
        return ("micro_f1", "macro_f1", "subset_accuracy") if self.several == "yes" else ("accuracy", "macro_f1")

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The first headline figure, then the smaller log loss."""
        return self.headline[0], "log_loss"

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Names suit; so do a few whole numbers, and lists of names where the text is no list of words."""
        labels = column(rows, LABEL)
        if not labels or isinstance(labels[0], list):
            return 0.5 if WORDS in rows.column_names else 1.0
        values = _text.numbers(labels, finite=False)
        if values is None:
            return 1.0
        whole = all(value.is_integer() for value in values)
        return 0.8 if whole and len(set(values)) <= 20 else 0.1

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Learn the label names; one class only, or a name that training never shows, is a DataError."""
        several = self._several(column(train, LABEL))
        if several and self.label_smoothing:
            raise RecipeError(
                "task.label_smoothing is set, and rows hold several labels", wanted="one class a row", fix="leave task.label_smoothing out"
            )
        found = Counter(name for value in column(train, LABEL) for name in _names(value, several))
        names = self.labels or _text.in_order(set(found))
        if len(names) < 2:
            only = f" ({names[0]!r})" if names else ""
            raise DataError(
                f"the label column holds one class only{only}", wanted="at least two", fix="check --label, or add rows of another class"
            )
        if len(names) > _MANY:
            raise DataError(
                f"the label column holds {len(names):,} different names in {len(train):,} rows",
                wanted=f"at most {_MANY:,} classes",
                fix="check --label; numbers are learned with --task regression",
            )
        _check_known(train, names, several, "training row")
        if len(found) == len(train) > 2 and not self.labels:
            _check_repeats(found, validation, several)
        _check_known(validation, names, several, "validation row")
        weights = _balanced(found, names, rows=len(train) if several else 0) if self.class_weights == "balanced" else ()
        return self.model_copy(update={"labels": names, "several": "yes" if several else "no", "weights": weights})

    def _several(self, values: Sequence[Any]) -> bool:
        if self.several != "auto":
            return self.several == "yes"
        if any(isinstance(value, list) for value in values):
            return True
        return any(mark in str(value) for value in values for mark in _SEPARATORS)

    def names(self, label: Any) -> list[str]:
        """The classes that a row's label names."""
        return _names(label, self.several == "yes")

    def head(self) -> Head:
        """A sequence classifier whose config carries the label names."""
        return Head(
            auto="AutoModelForSequenceClassification",
            options={
                "num_labels": len(self.labels),
                "id2label": dict(enumerate(self.labels)),
                "label2id": {name: i for i, name in enumerate(self.labels)},
                "problem_type": "multi_label_classification" if self.several == "yes" else "single_label_classification",
            },
        )

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Token ids, with class indices [N] or 0/1 rows [N, C] where the rows are labelled."""
        return _text.encode_texts(rows, tokenizer, length, self.answers(rows) if LABEL in rows.column_names else None)

    def answers(self, rows: pa.Table) -> np.ndarray:
        """Class index [N], or 0/1 [N, C] as floats."""
        _check_known(rows, self.labels, self.several == "yes", "row")
        index = {name: i for i, name in enumerate(self.labels)}
        chosen = [[index[name] for name in _names(value, self.several == "yes")] for value in column(rows, LABEL)]
        if self.several != "yes":
            return np.array([row[0] for row in chosen], dtype=np.int64)
        hot_NC = np.zeros((len(chosen), len(self.labels)), dtype=np.float32)
        for row, classes in enumerate(chosen):
            hot_NC[row, classes] = 1
        return hot_NC

    def truth(self, rows: pa.Table) -> list[Any]:
        """The label's name, or the list of names."""
        several = self.several == "yes"
        found = [_names(value, several) for value in column(rows, LABEL)]
        return [[name for name in self.labels if name in row] for row in found] if several else [row[0] for row in found]

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Padded to the longest of the chosen rows."""
        return _text.pad_batch(encoded, rows, tokenizer)

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits [B, C]."""
        return _text.logits(model, batch)

    def losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats, where several summed over a row's labels."""
        weight = torch.tensor(self.weights, device=scores.device) if self.weights else None
        if self.several == "yes":
            return _losses.binary(scores, batch["labels"], weight, focal=self.focal)
        return _losses.categorical(scores, batch["labels"], weight, focal=self.focal, smoothing=self.label_smoothing)

    def items(self, batch: Batch) -> Tensor:
        """The row itself, or each of its labels where several."""
        labels = batch["labels"]
        return torch.full((len(labels),), labels[0].numel() if len(labels) else 1, device=labels.device)

    def taught(self, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Divergence from the teacher's distribution over classes, or of each label where several."""
        return (_losses.soft_binary if self.several == "yes" else _losses.soft)(scores, wanted, temperature)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats, summed over rows (over rows and labels where several), and the distance of two answers (R-Drop)."""
        logits_BC = self.scores(model, batch)
        total = self.losses(logits_BC, batch).sum()
        if self.r_drop and model.training:
            again_BC = self.scores(model, batch)
            apart = _losses.apart(logits_BC, again_BC, self.several == "yes")
            total = (total + self.losses(again_BC, batch).sum()) / 2 + self.r_drop / 2 * apart
        return Loss(total, int(self.items(batch).sum()))

    def check(self, model: nn.Module) -> None:
        """R-Drop compares two answers to the same row: without dropout they are the same."""
        if self.r_drop and not any(isinstance(each, nn.modules.dropout._DropoutNd) and each.p > 0 for each in model.modules()):
            raise BaseError("task.r_drop is set, and nothing is dropped out", wanted="dropout", fix="set training.dropout=0.1")

    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Probabilities: softmax over classes, or a sigmoid for each label."""
        logits_BC: Tensor = _text.logits(model, batch)
        scores_BC = logits_BC.sigmoid() if self.several == "yes" else logits_BC.softmax(dim=-1)
        return {"scores": scores_BC.detach().cpu().numpy()}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Accuracy, precision, recall, F1, ROC-AUC, calibration error and log loss by their usual names."""
        score = _scores.label_set_metrics if self.several == "yes" else _scores.class_metrics
        return score(columns["scores"], columns["answers"], names)

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return (_scores.label_set_tally if self.several == "yes" else _scores.class_tally)(columns["scores"], columns["answers"], names)

    def details(self, columns: Columns) -> dict[str, Any]:
        """Per-class table, confusion matrix (rows are true classes) and calibration."""
        draw = _scores.label_set_details if self.several == "yes" else _scores.class_details
        return draw(columns["scores"], columns["answers"], self.labels)

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """The predicted name (or names above one half) and its probability, then every class's probability."""
        scores_NC = np.asarray(columns["scores"])
        if self.several == "yes":
            predicted: list[Any] = [[name for name, p in zip(self.labels, row, strict=True) if p >= _scores.THRESHOLD] for row in scores_NC]
        else:
            predicted = [self.labels[i] for i in scores_NC.argmax(axis=-1)]
        table: dict[str, list[Any]] = {"predicted": predicted, "confidence": scores_NC.max(axis=-1).tolist()}
        return table | {f"p({name})": scores_NC[:, i].tolist() for i, name in enumerate(self.labels)}


def _names(value: Any, several: bool) -> list[str]:
    if not several:
        return [spell(value)]
    if isinstance(value, list):
        return [spell(part) for part in value]
    mark = next((mark for mark in _SEPARATORS if mark in str(value)), None)
    return [part for part in (spell(part) for part in str(value).split(mark)) if part] if mark else [spell(value)]


def _check_repeats(found: Collection[str], validation: pa.Table, several: bool) -> None:
    """Refuse labels of which none occurs twice, neither in training nor in any validation row: they are names of rows."""
    if not any(name in found for value in column(validation, LABEL) for name in _names(value, several)):
        raise DataError(
            f"the label column holds {len(found):,} different names in {len(found):,} training rows, and no validation row has one of them",
            wanted="labels that several rows share",
            fix="check --label; numbers are learned with --task regression",
        )


def _check_known(rows: pa.Table, names: Sequence[str], several: bool, kind: str) -> None:
    known, strange = set(names), dict[str, int]()
    for value, row in zip(column(rows, LABEL), column(rows, ROW), strict=True):
        for name in _names(value, several):
            if name not in known:
                strange.setdefault(name, row)
    if strange:
        name, row = next(iter(strange.items()))
        more = f" ({len(strange)} such labels: {_listed(sorted(strange), 5)})" if len(strange) > 1 else ""
        leave_out = "; evaluate --accept unseen leaves such rows out" if kind == "row" else ""
        raise DataError(
            f"{kind} {row} has the label {name!r}, which no training row has{more}",
            wanted=f"one of {_listed(names, 20)}",
            fix=f"correct the label, or add training rows that have it{leave_out}",
        )


def _listed(names: Sequence[str], most: int) -> str:
    return ", ".join(map(repr, names[:most])) + (", …" if len(names) > most else "")


def _balanced(found: Counter[str], names: Sequence[str], *, rows: int) -> tuple[float, ...]:
    """Weight of each class; with `rows`, of each label's positive rows against its negative ones."""
    if rows:
        return tuple((rows - found[name]) / max(found[name], 1) for name in names)
    total = sum(found.values())
    return tuple(total / (len(names) * max(found[name], 1)) for name in names)
