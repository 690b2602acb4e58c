"""Name the class of an image.

Prefer text-classification where what is seen is written down as well; prefer contrastive-image to pre-train a base where few have a class.
Needs images: a folder (or a .tar) of class folders, or a table of files and classes, and a base that reads images.
The loss is cross-entropy over the classes.

Shape letters: N rows, B rows in a batch, K classes, C colours, H height, W width.
"""

from collections.abc import Collection
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rootstock.core.errors import DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, PIXELS, ROW, Columns, Encoded, boxed, column, spell
from rootstock.core.seed import Draw
from rootstock.core.tally import Tally
from rootstock.core.task import Batch, Kind
from rootstock.tasks import _losses, _pictures, _scores, _text
from rootstock.tasks._one_of import OneOf
from rootstock.tasks._pictures import Seen

_SHOWN = 20


class ImageClassification(Seen, OneOf):
    """Class names come from the training images and survive to config, predictions and report. Images are not changed at random."""

    reads: ClassVar[Literal["texts", "images"]] = "images"

    labels: tuple[str, ...] = ()
    """Class names in the order of the model's outputs. Empty: found in the training rows."""
    image: str | None = None
    """Column of the image files where they are named by a table. None: found by its name."""

    @property
    def kind(self) -> Kind:
        """One class a row."""
        return "class"

    @property
    def headline(self) -> tuple[str, ...]:
        """Accuracy leads."""
        return "accuracy", "macro_f1"

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Rows of a table are no images: a folder of them is known as such before it is read."""
        return float(PIXELS in rows.column_names)

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Learn the class names; a single class, or one that training never shows, is a DataError."""
        names = self.labels or _text.in_order({spell(label) for label in column(train, LABEL)})
        if len(names) < 2 or "" in names:
            found = "there are images that lie in no class folder" if "" in names else f"all images are of the class {names[0]!r}"
            raise DataError(found, wanted="two classes or more", fix="put the images of each class into a folder of its own")
        made = self.model_copy(update={"labels": names})
        made.answers(validation)
        return made

    def head(self) -> Head:
        """A classifier whose config carries the class names; one with random weights is built for the images' size."""
        names = dict(enumerate(self.labels))
        options = {"num_labels": len(names), "id2label": names, "label2id": {name: number for number, name in names.items()}}
        return Head(auto="AutoModelForImageClassification", options=options | ({"image_size": self.size} if self.size else {}))

    def check(self, model: nn.Module) -> None:
        """Refuse a model that does not read images."""
        plain: Any = model
        _pictures.check_reads_images(plain)
        _pictures.name_embeddings(plain)

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """The pixels, and the classes where rows have them."""
        dense = {PIXELS: self.pixels(rows)} | ({"labels": self.answers(rows)} if LABEL in rows.column_names else {})
        return Encoded({}, dense, np.full(len(rows), self.cost or 1, dtype=np.int64))

    def answers(self, rows: pa.Table) -> np.ndarray:
        """Class index [N]."""
        number = {name: place for place, name in enumerate(self.labels)}
        names = [spell(label) for label in column(rows, LABEL)]
        if strange := [(name, row) for name, row in zip(names, column(rows, ROW), strict=True) if name not in number]:
            name, row = strange[0]
            raise DataError(
                f"image {row} is of the class {name!r}, which no training image has",
                wanted=f"one of {', '.join(map(repr, self.labels[:_SHOWN]))}",
                fix="correct the class, or add training images that have it",
            )
        return np.array([number[name] for name in names], dtype=np.int64)

    def truth(self, rows: pa.Table) -> list[Any]:
        """The class's name."""
        return [spell(label) for label in column(rows, LABEL)]

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Images as the model reads them, [B, C, H, W]."""
        pixels_BHWC = torch.from_numpy(encoded.dense[PIXELS][rows])
        batch = {"pixel_values": self.normal(pixels_BHWC.permute(0, 3, 1, 2).float() / 255).contiguous()}
        return batch | ({"labels": torch.from_numpy(encoded.dense["labels"][rows])} if "labels" in encoded.dense else {})

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits [B, K]."""
        return _logits(model, batch)

    def taught(self, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Divergence from the teacher's distribution over classes."""
        return _losses.soft(scores, wanted, temperature)

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """Scores of the classes."""
        return boxed(list(_logits(model, batch).cpu().numpy()))

    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Probabilities: softmax over classes."""
        return {"scores": _logits(model, batch).softmax(dim=-1).detach().cpu().numpy()}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Accuracy, precision, recall, F1, ROC-AUC, calibration error and log loss by their usual names."""
        return _scores.class_metrics(columns["scores"], columns["answers"], names)

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return _scores.class_tally(columns["scores"], columns["answers"], names)

    def details(self, columns: Columns) -> dict[str, Any]:
        """Per-class table, confusion matrix (rows are true classes) and calibration."""
        return _scores.class_details(columns["scores"], columns["answers"], self.labels)

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """The predicted name and its probability, then every class's probability."""
        scores_NK = np.asarray(columns["scores"])
        table: dict[str, list[Any]] = {"predicted": [self.labels[i] for i in scores_NK.argmax(1)], "confidence": scores_NK.max(1).tolist()}
        return table | {f"p({name})": scores_NK[:, i].tolist() for i, name in enumerate(self.labels)}


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """Scores in fp32, [B, K]; of vectors that a frozen base gave, by the head alone."""
    if "features" in batch:
        return model(features=batch["features"]).logits.float()  # type: ignore[no-any-return]
    dtype = next(model.parameters()).dtype
    out: Tensor = model(pixel_values=batch["pixel_values"].to(dtype)).logits
    return out.float()
