"""Guess each token from those before it (GPT's language modelling).

Prefer it for bases that are to write; prefer masked-lm for bases that are to classify or embed. Needs documents.
A row is a piece of one document, so no token sees another document. Radford et al. 2018,
https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
"""

from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from rootstock.core import tokens
from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head
from rootstock.core.objective import Objective
from rootstock.core.rows import Columns, Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _pieces, _vocabulary


class CausalLM(Objective):
    """Cross-entropy of the next token at every position."""

    def head(self) -> Head:
        """A causal language model."""
        return Head(auto="AutoModelForCausalLM")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces that begin with the token for a beginning; the last of a document ends with the token for an end. Bytes of each, [N]."""
        first, end = _edges(tokenizer)
        pieces = _pieces.pieces(rows, tokenizer, length - 2 if length else 10**9)
        made = [piece._replace(ids=np.array([first, *piece.ids, *([end] if piece.last else [])], np.int32)) for piece in pieces]
        return _pieces.encoded(made, bytes=np.array([piece.bytes for piece in made], dtype=np.float64))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids [B, T], as labels the token after each, -100 where there is none, and bytes [B]."""
        ids_BT, mask_BT = _pieces.padded(encoded, rows, tokenizer)
        labels_BT = np.full_like(ids_BT, _vocabulary.NOT_ASKED)
        labels_BT[:, :-1] = np.where(mask_BT[:, 1:] > 0, ids_BT[:, 1:], _vocabulary.NOT_ASKED)
        return _pieces.tensors(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT, bytes=encoded.dense["bytes"][rows])

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats, summed over the tokens."""
        return _vocabulary.language_loss(model, _inputs(batch), batch["labels"])

    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, count, hits and bytes of each row."""
        found = _vocabulary.language_results(model, _inputs(batch), batch["labels"])
        return {**found, "bytes": batch["bytes"].cpu().numpy()}

    def check(self, model: nn.Module) -> None:
        """Refuse a model that sees what comes after, or whose scores are more than its output layer's."""
        _vocabulary.check_causal(model)


def _edges(tokenizer: Any) -> tuple[int, int]:
    """Ids of beginning and end; a tokenizer that has one token for both, or BERT's, serves as well."""
    first, end = tokens.begin(tokenizer), tokens.end(tokenizer)
    if end is None:
        raise BaseError("the tokenizer has no token for the end of a text", fix="train one: rootstock tokenizer train --family gpt")
    return end if first is None else first, end


def _inputs(batch: Batch) -> Batch:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}
