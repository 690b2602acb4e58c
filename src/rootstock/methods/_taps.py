"""Where the features of a frozen base leave it, by architecture: what the model's own head reads, or the body's last states."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core.loaded import Loaded
from rootstock.core.method import Answer, OnVectors, Tap
from rootstock.core.mode import in_mode
from rootstock.methods import _pooling

_SIDE = 64
"""Pixels to a side of the images that a model is tried on whose config names no size: it takes any."""


def body_name(model: nn.Module) -> str:
    """The name of the module that is not the head."""
    return str(getattr(model, "base_model_prefix", ""))


def as_read(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch with pixels in the model's own number format; token ids have none."""
    dtype = next(model.parameters()).dtype
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}


def tap_of_images(model: Any, head: nn.Module) -> Tap | None:
    """Features are what the last layer reads of an image; None where the head, given these alone, would answer otherwise."""
    body, side = HeadInput(model, head), getattr(model.config, "image_size", None) or _SIDE
    shape = (2, getattr(model.config, "num_channels", 3), *(side if isinstance(side, list | tuple) else (side, side)))
    pixels_BCHW = torch.linspace(-1, 1, math.prod(shape), device=next(model.parameters()).device).reshape(shape)
    try:
        with torch.no_grad(), in_mode(model, training=False):
            features_BH, logits_BK = body(pixel_values=pixels_BCHW), model(pixel_values=pixels_BCHW).logits
            found = Tap(body=body, head=OnVectors(head, features_BH.shape[1]), key="pool=first", width=features_BH.shape[1])
            return found if torch.allclose(found.head(features_BH).logits, logits_BK, rtol=1e-3, atol=1e-4) else None
    except (AttributeError, IndexError, TypeError, RuntimeError, ValueError):  # a head that reads something else of its body
        return None


def tap_below(model: Any, loaded: Loaded) -> Tap | None:
    """Features are what the body's last layer leaves where a head of several modules reads it (DistilBERT, DeBERTa, ModernBERT).

    None where the head, given these alone, would answer otherwise than the whole model does.
    """
    mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
    tap = Tap(body=_Body(model.base_model, mean=mean), head=_Rest(model), key=f"body={'mean' if mean else 'first'}", width=loaded.width)
    ids_BT = torch.arange(4, 12, device=next(model.parameters()).device).reshape(2, 4) % model.config.vocab_size
    batch = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
    try:
        with torch.no_grad(), in_mode(model, training=False):
            agree = torch.allclose(model(**batch).logits, tap.head(tap.body(**batch)).logits, rtol=1e-3, atol=1e-4)
    except (AttributeError, IndexError, TypeError, RuntimeError):  # a head that reads something else of its body
        agree = False
    return tap if agree else None


class _Body(nn.Module):
    """The body's last hidden states at the first token, or their mean over the real ones: [B, H]."""

    def __init__(self, body: nn.Module, *, mean: bool) -> None:
        super().__init__()
        self.body, self.mean = body, mean

    def forward(self, **batch: Tensor) -> Tensor:
        """One vector a row."""
        hidden_BTH: Tensor = self.body(**batch)[0]
        return _pooling.mean(hidden_BTH, batch["attention_mask"]) if self.mean else hidden_BTH[:, 0]


class _Rest(nn.Module):
    """A classifier whose body is one cached vector, seen as a text of one token; everything above the body is the model's own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.above, given = copy.copy(model), _Given()
        self.above._modules = dict(model._modules) | {body_name(model): given}  # a shallow copy: its head is the model's
        self._give = given.give
        self.mask = nn.Buffer(torch.ones(1, 1, dtype=torch.long, device=next(model.parameters()).device), persistent=False)

    def forward(self, features: Tensor) -> Answer:
        """Answers of cached vectors [B, H]."""
        ones_B1 = self.mask.expand(len(features), 1)
        self._give(features)
        return Answer(self.above(input_ids=ones_B1, attention_mask=ones_B1).logits)


class _Given(nn.Module):
    """A body that has its last hidden states already."""

    def give(self, features_BH: Tensor) -> None:
        """What the next call returns."""
        self.features = features_BH[:, None]

    def forward(self, *_: Any, **__: Any) -> Any:
        """What was given, [B, 1, H]."""
        from transformers.modeling_outputs import BaseModelOutput  # the library takes seconds: only who has a model pays

        return BaseModelOutput(last_hidden_state=self.features)


class HeadInput(nn.Module):
    """The vector that the head gets for each row, seen by a hook while the whole model runs."""

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []
        self.head, self.last = head, isinstance(head, nn.Linear)

    def _see(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.seen[:] = [arguments[0]]

    def forward(self, **batch: Tensor) -> Tensor:
        """[B, H]: the head's input; of all positions the one that is read: a decoder's last real token, an encoder's first."""
        hook = self.head.register_forward_pre_hook(self._see)  # only for this call: the head goes on to learn without its base
        try:
            self.model(**as_read(self.model, batch))
        finally:
            hook.remove()
        found = self.seen.pop()
        if "attention_mask" not in batch:
            return found.flatten(1)  # of an image: a vector, or a map of one place
        if found.dim() == 2:
            return found
        at_B = batch["attention_mask"].sum(1) - 1 if self.last else torch.zeros(len(found), dtype=torch.long, device=found.device)
        return found[torch.arange(len(found), device=found.device), at_B]
