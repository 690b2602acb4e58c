"""Train only a fresh head on the frozen base's features (feature extraction, linear probe).

Prefer it where seconds count or rows are few; full and lora go further with a few hundred rows or more. Each row passes the base once:
its feature vector is kept on disk by content digest, so later epochs and later runs on the same rows start at once.
"""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from rootstock.core.method import Loaded, Method, OnVectors, Tap, train_only, zeroed
from rootstock.methods import _pooling


class FeatureExtraction(Method):
    """The base is frozen; what the checkpoint lacked learns."""

    epochs: ClassVar[float] = 20
    rate: ClassVar[float] = 1e-2
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
        train_only(loaded.model, _head_names(loaded))
        return loaded.model

    def tap(self, model: nn.Module, loaded: Loaded) -> Tap | None:
        """The features are the input of the fresh head. None where the head is more than one module: then the base runs each time."""
        heads = {name.split(".", 1)[0] for name in _head_names(loaded)}
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
            linear, _ = name, zeroed(head)
        return Tap(body=body, head=OnVectors(head), key=f"pool={'mean' if self._mean(model) else 'first'}", linear=linear)

    def keep(self, model: nn.Module) -> nn.Module:
        """The frozen base with its new head; mean pooling becomes one more layer of the encoder."""
        if self._mean(model):
            _pooling.graft(model)
        return model

    def _mean(self, model: nn.Module) -> bool:
        return self.pool != "first" and _pooling.graftable(model)


def _head_names(loaded: Loaded) -> frozenset[str]:
    """The fresh parameters; where the checkpoint brought a trained head, that head's."""
    if loaded.fresh:
        return loaded.fresh
    body = getattr(loaded.model, "base_model_prefix", "")
    return frozenset(name for name, _ in loaded.model.named_parameters() if name.split(".", 1)[0] != body)


class _HeadInput(nn.Module):
    """The vector that the head gets for each row, seen by a hook while the whole model runs."""

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []
        head.register_forward_pre_hook(self._see)

    def _see(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.seen[:] = [arguments[0]]

    def forward(self, **batch: Tensor) -> Tensor:
        """[B, H]: the head's input, or its first position where the head is given all of them."""
        self.model(**batch)
        found = self.seen[0]
        return found if found.dim() == 2 else found[:, 0]
