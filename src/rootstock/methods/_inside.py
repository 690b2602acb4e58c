"""A head inside the model, on one vector a row of a base that stands still: which vector, where it leaves the base, what is saved."""

from typing import Any, Literal

from torch import nn

from rootstock.core.loaded import Loaded
from rootstock.core.method import OnVectors, Tap, zeroed
from rootstock.methods import _encoder_mean, _pooling
from rootstock.methods._taps import HeadInput, body_name, tap_below, tap_of_images

Pool = Literal["auto", "mean", "first"]


def reads_mean(model: nn.Module, pool: Pool) -> bool:
    """Whether the vector is the mean over a text's tokens, which the base must be able to hold."""
    return pool != "first" and answers_texts(model) and (_pooling.graftable(model) or _encoder_mean.possible(model))


def answers_texts(model: nn.Module) -> bool:
    """Whether there is one answer a text, so that one vector can stand for it: not where each word has its own."""
    return type(model).__name__.endswith("ForSequenceClassification")


def answers_images(model: nn.Module) -> bool:
    """Whether there is one answer an image."""
    return type(model).__name__.endswith("ForImageClassification")


def head_names(loaded: Loaded, pool: Pool) -> frozenset[str]:
    """The fresh parameters, but for a pooler that the mean replaces; where the checkpoint brought a trained head, that head's."""
    mean = reads_mean(loaded.model, pool)
    fresh = frozenset(name for name in loaded.fresh if not (mean and ".pooler." in name))
    if fresh:
        return fresh
    body = body_name(loaded.model)
    return frozenset(name for name, _ in loaded.model.named_parameters() if name.split(".", 1)[0] != body)


def tap(model: Any, loaded: Loaded, pool: Pool, *, more: str = "") -> Tap | None:
    """The features are the input of the fresh head; more: what else decides them, for the key.

    None where part of it lies inside the body, or where each word has an answer of its own: then the base runs each time.
    """
    heads = {name.split(".", 1)[0] for name in head_names(loaded, pool)}
    if answers_images(model) and len(heads) == 1:
        found = tap_of_images(model, head := getattr(model, heads.pop()))
        if found and isinstance(head, nn.Linear) and loaded.fresh:
            zeroed(head)
        return found
    if not answers_texts(model):
        return None
    if len(heads) != 1:
        return tap_below(model, loaded) if body_name(model) not in heads else None
    name, mean = heads.pop(), reads_mean(model, pool)
    head = getattr(model, name)
    if mean:
        body: nn.Module = _encoder_mean.EncoderMean(model) if _encoder_mean.possible(model) else _pooling.MeanBody(model)
    else:
        body = HeadInput(model, head)
    linear = None
    if isinstance(head, nn.Linear) and loaded.fresh:
        zeroed(head)
        linear = name if head.bias is not None else None
    key = f"pool={'mean' if mean else 'first'}{more}"
    return Tap(body=body, head=OnVectors(head, loaded.width), key=key, width=loaded.width, linear=linear)


def whole(model: nn.Module, pool: Pool) -> nn.Module:
    """Base and head as one plain model; mean pooling becomes one more layer of the encoder, or all of the decoder."""
    if reads_mean(model, pool) and _encoder_mean.possible(model):
        _encoder_mean.replace_decoder(model)
    elif reads_mean(model, pool):
        _pooling.graft(model)
    return model
