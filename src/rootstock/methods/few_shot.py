"""Bring the texts of a class together, then train a head on their vectors (few-shot learning as in SetFit).

Prefer it to feature-extraction and full with some 4 to 100 rows a class: every two rows are an example of what belongs together, so that
few rows teach much. With more rows full goes as far. It fits classifiers of one class a row. Tunstall et al. 2022,
https://arxiv.org/abs/2209.11055; the loss, which looks at all rows of an update at once: Khosla et al. 2020, https://arxiv.org/abs/2004.11362

Shape letters: N rows of an update, B rows in a batch, H width.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rootstock.core.coupled import Lesson
from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method, Tap, WarmUp, train_only
from rootstock.core.task import Batch, Loss, inputs
from rootstock.methods import _inside


class FewShot(Method):
    """The whole base learns to tell the classes' texts apart; then it is frozen, and the head learns on its vectors."""

    epochs: ClassVar[float] = 10
    rate: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 0.3
    batch_tokens: ClassVar[int] = 128
    base_dropout: ClassVar[float | None] = 0.0
    frozen: ClassVar[bool] = True

    pool: _inside.Pool = "auto"
    """Which vector stands for a text: the mean over its tokens, or what the model's own head reads.

    auto: mean where the base can hold it.
    """
    warm_epochs: float = Field(default=3, gt=0)
    """Passes over the training rows in which the base learns; more where they give fewer than warm_updates."""
    warm_updates: int = Field(default=20, ge=1)
    """Updates of the base at least, of two classes; of C classes log2(C) times as many."""
    warm_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the base; training.rate is the head's."""
    warm_tokens: int = Field(default=8192, ge=1)
    """Padded tokens of an update of the base: its rows are told from each other, so that more of them teach more."""
    temperature: float = Field(default=0.1, gt=0)
    """What cosines are divided by; smaller looks at the nearest rows of other classes only."""

    @classmethod
    def stands_for(cls, name: str) -> str | None:
        """SetFit, under its defaults."""
        return "method.pool=auto" if name == "setfit" else None

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError where rows have no one class, by which texts would belong together."""
        kind = head.options.get("problem_type", "other answers")
        if head.auto != "AutoModelForSequenceClassification" or kind != "single_label_classification":
            raise RecipeError(
                f"few-shot brings texts of one class together, and this task has a head for {str(kind).replace('_', ' ')} ({head.auto})",
                wanted="text-classification with one class a row",
                fix="choose --method full or lora",
            )

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze all but the head; the base learns in the warm-up alone."""
        train_only(loaded.model, _inside.head_names(loaded, self.pool))
        return loaded.model

    def tap(self, model: nn.Module, loaded: Loaded) -> Tap | None:
        """The features are the input of the fresh head; None where more than a head reads them."""
        return _inside.tap(model, loaded, self.pool)

    def keep(self, model: nn.Module) -> nn.Module:
        """The base that learned with its head, as one plain model."""
        return _inside.whole(model, self.pool)

    def warm_up(self) -> WarmUp:
        """Supervised contrastive learning."""
        return WarmUp(
            coupled=_SameClass(self.temperature),
            epochs=self.warm_epochs,
            updates=self.warm_updates,
            rate=self.warm_rate,
            batch_tokens=self.warm_tokens,
        )


class _SameClass(Lesson):
    """Cross-entropy of a row's class among all other rows of the update, by cosine: the mean over those of its class."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The loss."""
        return ("loss",)

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """The vectors that the head will read, [B, 1, H]."""
        vectors_BH: Tensor = model(**inputs(batch))
        return vectors_BH[:, None]

    def couple(self, model: nn.Module, vectors_BVH: Tensor, labels: Tensor | None = None) -> Loss:
        """Nats, summed over the rows that have another one of their class beside them."""
        assert labels is not None, "rows of no class belong to none"
        units_NH = functional.normalize(vectors_BVH[:, 0].float(), dim=-1)
        itself_NN = torch.eye(len(units_NH), dtype=torch.bool, device=units_NH.device)
        scores_NN = (units_NH @ units_NH.T / self._temperature).masked_fill(itself_NN, -torch.inf)
        same_NN = (labels[:, None] == labels[None]) & ~itself_NN
        told_N = same_NN.sum(1)
        likely_NN = scores_NN.log_softmax(1).masked_fill(~same_NN, 0.0)
        losses_N = -likely_NN.sum(1) / told_N.clamp(min=1)
        return Loss(losses_N.sum(), int((told_N > 0).sum()))
