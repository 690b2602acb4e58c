"""Train only a fresh head on the frozen base's features (feature extraction, linear probe).

Prefer it where seconds count or rows are few; full and lora go further with a few hundred rows or more, few-shot with a few
rows a class. Each row passes the base once: its feature vector is kept on disk by content digest, so later epochs and later runs on the
same rows start at once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from safetensors.torch import load_file
from torch import nn

from rootstock.core.errors import MergeRefused, RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method, Saved, Tap, learning, train_only
from rootstock.core.rows import Columns
from rootstock.methods import _heads, _inside, _logistic
from rootstock.methods._truncated import truncate

_TEXTS, _IMAGES = "AutoModelForSequenceClassification", "AutoModelForImageClassification"
_BENT = 0.1
"""An MLP's rate beside a linear head's, whose loss is convex."""


class FeatureExtraction(Method):
    """The base is frozen; what the checkpoint lacked learns, or a head of its own beside the base."""

    epochs: ClassVar[float] = 10
    rate: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 0.3
    batch_tokens: ClassVar[int] = 128
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 2
    trained: ClassVar[float] = 0.0
    frozen: ClassVar[bool] = True

    pool: _inside.Pool = "auto"
    """Which vector stands for a text: the mean over its tokens, or what the model's own head reads (BERT's first token, T5's last).

    auto: mean where the base can hold it.
    """
    layer: int | Literal["last", "mix", "all"] = "last"
    """Whose states are the features: those of the last block, of this block counted from 1 (the model then ends there), a mix, or all.

    mix: the embeddings and every block with learned weights, as in ELMo. all: their vectors side by side, for a head of any kind.
    """
    head: Literal["linear", "logistic-regression", "mlp", "knn"] = "linear"
    """linear is trained by steps, logistic-regression is fitted by scikit-learn and saved as the same layer; mlp has a hidden layer, knn
    asks the nearest training rows."""
    c: float | None = Field(default=None, gt=0)
    """Of logistic-regression: scikit-learn's C for features with a spread of one, smaller is stricter. None: by cross-validation."""
    hidden: int = Field(default=256, ge=1)
    """Of an mlp: width of the hidden layer. It learns at a tenth of training.rate, which is a linear head's."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of an mlp: share of the hidden layer that is dropped in training."""
    k: int = Field(default=15, ge=1)
    """Of knn: how many training rows vote. Odd, so that two classes seldom tie; a tie goes to the first class."""
    metric: Literal["cosine", "euclid"] = "cosine"
    """Of knn: by what rows are near."""

    @field_validator("layer")
    @classmethod
    def _counted_from_one(cls, value: Any) -> Any:
        if value not in ("last", "mix", "all") and value < 1:
            raise ValueError("last, mix, all, or a block's number, counted from 1")
        return value

    @property
    def leaves(self) -> str:
        """A whole model where a linear layer reads one vector, else a head beside its base."""
        return "head" if self._several or self.head in ("mlp", "knn") else "model"

    @property
    def _several(self) -> bool:
        """Whether the features are of several layers."""
        return self.layer in ("mix", "all")

    @property
    def at_once(self) -> bool:
        """Whether the head is fitted to all rows at once."""
        return self.head in ("logistic-regression", "knn")

    @property
    def votes(self) -> bool:
        """A neighbour more or less is a step in the answer."""
        return self.head == "knn"

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError for settings that contradict each other, and for a task whose answers are not of a whole text."""
        if self.layer == "mix" and self.at_once:
            raise RecipeError(
                f"method.layer is mix and method.head is {self.head}",
                wanted="a head that is trained by steps, as the weights of a mix are",
                fix="give --set method.layer=all, method.head=linear or mlp, or a layer by its number; or choose --method full",
            )
        plain = self.layer == "last" and (self.head == "linear" or head.auto == _IMAGES)
        if head.auto != _TEXTS and not plain:
            images = head.auto == _IMAGES
            raise RecipeError(
                f"method.head is {self.head} and method.layer {self.layer}, and this task's "
                + ("rows are images" if images else "answers are not one a text"),
                wanted=f"{'a' if images else 'a linear'} head on the last layer",
                fix=f"leave {'method.layer' if images else 'both'} out, or choose --method full",
            )
        if self.at_once and head.options.get("problem_type") == "regression":
            raise RecipeError(
                f"method.head is {self.head}, which names classes, and the labels are numbers",
                wanted="a linear head or an mlp",
                fix="give --set method.head=linear or mlp, or choose --method full",
            )

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze all but the head."""
        if isinstance(self.layer, int):
            truncate(loaded.model, self.layer)
        if self.leaves == "head":
            return self._beside(loaded)
        train_only(loaded.model, _inside.head_names(loaded, self.pool))
        return loaded.model

    def tap(self, model: nn.Module, loaded: Loaded) -> Tap | None:
        """The features are the input of the fresh head.

        None where part of it lies inside the body, or where each word has an answer of its own: then the base runs each time.
        """
        if isinstance(model, _heads.OnFeatures):
            return Tap(body=model.body, head=_heads.OnVectors(model.head), key=self._key(model.body), width=self._width(loaded))
        found = _inside.tap(model, loaded, self.pool, more=f" layer={self.layer}" if self.layer != "last" else "")
        if self.head == "logistic-regression" and (found is None or _linear(found.head) is None):
            raise ValueError("its head is more than one linear layer, so method.head=logistic-regression has no place; mlp and knn have")
        return found

    def groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]]:
        """All that learns at one rate."""
        return [{"names": [name for name, _ in learning(model)], "rate": rate * (_BENT if self.head == "mlp" else 1.0)}]

    def fit(self, head: nn.Module, columns: Columns) -> str:
        """Fit a head to all rows' vectors and labels; returns what was found."""
        features_NH, labels = columns["features"], columns["labels"]
        if self.head == "logistic-regression":
            layer = _linear(head)
            assert layer is not None
            return _logistic.fit(layer, features_NH, labels, self.c)
        neighbours: Any = next(module for module in head.modules() if isinstance(module, _heads.Neighbours))
        wanted = torch.from_numpy(labels)
        classes = nn.functional.one_hot(wanted, neighbours.classes.shape[1]) if labels.ndim == 1 else wanted
        neighbours.keep(torch.from_numpy(np.ascontiguousarray(features_NH)), classes)
        return f"the {min(self.k, len(labels))} nearest of {len(labels):,} training rows by {self.metric}"

    def keep(self, model: nn.Module) -> nn.Module:
        """The frozen base with its new head; mean pooling becomes one more layer of the encoder, or all of the decoder."""
        if isinstance(model, _heads.OnFeatures):
            return model
        return _inside.whole(model, self.pool)

    def merge(self, model: nn.Module) -> nn.Module:
        """MergeRefused for a head beside its base: no transformers class has a place for it."""
        if isinstance(model, _heads.OnFeatures):
            raise MergeRefused("a head beside its base can't be folded", wanted="a linear head on one layer", fix="use it unmerged")
        return self.keep(model)

    def saved(self, folder: Path) -> Saved | None:
        """The head, and the base where it was saved with it; None where the saved model ends below the base's last layer."""
        files = sorted(folder.glob("*.safetensors"))
        if isinstance(self.layer, int) or len(files) != 1:
            return None
        return Saved({}, load_file(files[0]))

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base with the head that `folder` holds."""
        model = self.apply(loaded)
        assert isinstance(model, _heads.OnFeatures)
        return _heads.restored(model, folder)

    def _beside(self, loaded: Loaded) -> nn.Module:
        """The body, and a head of its own."""
        model: Any = loaded.model
        outputs, config = int(loaded.head.options["num_labels"]), model.config
        width = loaded.width if self.layer == "mix" else self._width(loaded)
        if self.head == "knn":
            several = loaded.head.options.get("problem_type") == "multi_label_classification"
            head: nn.Module = _heads.Neighbours(width, outputs, k=self.k, cosine=self.metric == "cosine", several=several)
        elif self.head == "mlp":
            head = _heads.mlp(width, outputs, hidden=self.hidden, dropout=self.dropout)
        else:
            head = _heads.linear(width, outputs)
        if self.layer == "mix":
            head = nn.Sequential(_heads.Mix(config.num_hidden_layers + 1), head)
        body = _heads.Pooled(model, every=self._several, first=self.pool == "first")
        body.requires_grad_(False)
        return _heads.OnFeatures(model, body, head, {"method": "feature-extraction", **self.plain(), "classes": outputs})

    def _key(self, body: _heads.Pooled) -> str:
        return f"vectors={'first' if body.first else 'mean'} layer={self.layer}"

    def _width(self, loaded: Loaded) -> int:
        config: Any = loaded.model.config
        return loaded.width * (config.num_hidden_layers + 1 if self._several else 1)


def _linear(head: nn.Module) -> nn.Linear | None:
    """The linear layer that a tapped head is, where it is one."""
    found = getattr(head, "head", None)
    return found if isinstance(found, nn.Linear) else None
