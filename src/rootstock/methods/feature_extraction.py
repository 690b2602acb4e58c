"""Train only a fresh head on the frozen base's features (feature extraction, linear probe).

Prefer it where seconds count or rows are few; full and lora go further with a few hundred rows or more. Each row passes the base once:
its feature vector is kept on disk by content digest, so later epochs and later runs on the same rows start at once.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rootstock.core.method import Loaded, Method, OnVectors, Tap, train_only, zeroed
from rootstock.methods import _pooling


class FeatureExtraction(Method):
    """The base is frozen; what the checkpoint lacked learns."""

    epochs: ClassVar[float] = 10
    rate: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 0.3
    batch_tokens: ClassVar[int] = 128
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 2
    trained: ClassVar[float] = 0.0

    pool: Literal["auto", "mean", "first"] = "auto"
    """Which vector stands for a text: the mean over its tokens, or what the model's own head reads (BERT's first token).

    auto: mean where the base can hold it.
    """

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze all but the head."""
        train_only(loaded.model, _head_names(loaded, mean=self._mean(loaded.model)))
        return loaded.model

    def tap(self, model: nn.Module, loaded: Loaded) -> Tap | None:
        """The features are the input of the fresh head. None where the head is more than one module: then the base runs each time."""
        heads = {name.split(".", 1)[0] for name in _head_names(loaded, mean=self._mean(model))}
        if len(heads) != 1:
            return None
        name = heads.pop()
        head = getattr(model, name)
        if self._mean(model):
            body: nn.Module = _pooling.MeanBody(model)
        else:
            body = _HeadInput(model, head)
        linear = None
        if isinstance(head, nn.Linear) and loaded.fresh:
            zeroed(head)
            linear = name if head.bias is not None else None
        return Tap(body=body, head=OnVectors(head, loaded.width), key=f"pool={'mean' if self._mean(model) else 'first'}", linear=linear)

    def keep(self, model: nn.Module) -> nn.Module:
        """The frozen base with its new head; mean pooling becomes one more layer of the encoder."""
        if self._mean(model):
            _pooling.graft(model)
        return model

    def _mean(self, model: nn.Module) -> bool:
        return self.pool != "first" and _pooling.graftable(model)


def _head_names(loaded: Loaded, *, mean: bool) -> frozenset[str]:
    """The fresh parameters, but for a pooler that the mean replaces; where the checkpoint brought a trained head, that head's."""
    fresh = frozenset(name for name in loaded.fresh if not (mean and ".pooler." in name))
    if fresh:
        return fresh
    body = getattr(loaded.model, "base_model_prefix", "")
    return frozenset(name for name, _ in loaded.model.named_parameters() if name.split(".", 1)[0] != body)


class _HeadInput(nn.Module):
    """The vector that the head gets for each row, seen by a hook while the whole model runs."""

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []
        self.last = isinstance(head, nn.Linear)
        head.register_forward_pre_hook(self._see)

    def _see(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.seen[:] = [arguments[0]]

    def forward(self, **batch: Tensor) -> Tensor:
        """[B, H]: the head's input; of all positions the one that is read: a decoder's last real token, an encoder's first."""
        self.model(**batch)
        found = self.seen[0]
        if found.dim() == 2:
            return found
        at_B = batch["attention_mask"].sum(1) - 1 if self.last else torch.zeros(len(found), dtype=torch.long, device=found.device)
        return found[torch.arange(len(found), device=found.device), at_B]
