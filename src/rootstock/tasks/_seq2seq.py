"""Shared by tasks whose decoder writes what the encoder's text lacks.

Shape letters: B rows, S source tokens, T target tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from rootstock.core import tokens
from rootstock.core.errors import BaseError
from rootstock.core.rows import Columns, Ragged
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _pieces, _vocabulary


def batch(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], tokenizer: Any) -> Batch:
    """Source ids and their mask [B, S], and as labels the target ids [B, T], -100 behind them."""
    rows = np.arange(len(sources))
    ids_BS, mask_BS = Ragged.of(sources).masked(rows, tokenizer.pad_token_id)
    labels_BT = Ragged.of(targets).padded(rows, _vocabulary.NOT_ASKED)
    return _pieces.tensors(input_ids=ids_BS, attention_mask=mask_BS, labels=labels_BT)


def loss(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy in nats, summed over the target's tokens."""
    return _vocabulary.language_loss(model, inputs(model, batch), batch["labels"])


def decode(model: nn.Module, batch: Batch) -> Columns:
    """Loss, count and hits of each row."""
    return _vocabulary.language_results(model, inputs(model, batch), batch["labels"])


def check(model: nn.Module) -> None:
    """Refuse a model without encoder and decoder, or whose scores are more than its output layer's."""
    plain = _vocabulary.plain_model(model)
    if not plain.config.is_encoder_decoder or not hasattr(plain, "prepare_decoder_input_ids_from_labels"):
        raise BaseError(
            f"{type(plain).__name__} has no decoder that writes what its encoder read",
            wanted="an architecture with encoder and decoder",
            fix="choose --task masked-lm or causal-lm, or a base such as scratch:t5-tiny or scratch:bart-tiny",
        )
    few = _vocabulary.few_tokens(model)
    _vocabulary.check_output_layer(model, {**few, "decoder_input_ids": few["input_ids"]})


def end_token(tokenizer: Any) -> int:
    """The id that ends a text; BaseError where there is none."""
    end = tokens.end(tokenizer)
    if end is None:
        raise BaseError("the tokenizer has no token for the end of a text", fix="train one: rootstock tokenizer train --family t5")
    return end


def inputs(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What forward takes: the decoder reads the target one place later, begun and padded by the model's own rule."""
    labels_BT = batch["labels"]
    shifted_BT: Tensor = _vocabulary.plain_model(model).prepare_decoder_input_ids_from_labels(labels_BT)
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "decoder_input_ids": shifted_BT}
