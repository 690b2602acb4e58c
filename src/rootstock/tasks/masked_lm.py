"""Guess tokens that were masked (BERT's masked language modelling).

Prefer it for bases that are to classify or embed texts; prefer causal-lm for bases that are to write. Needs documents.
Devlin et al. 2019, https://arxiv.org/abs/1810.04805; whole words: Cui et al. 2021, https://arxiv.org/abs/1906.08101; spans:
Joshi et al. 2020, https://arxiv.org/abs/1907.10529
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from torch import nn

from rootstock.core.loaded import Head
from rootstock.core.rows import Columns, Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss, inputs
from rootstock.tasks import _masks, _pieces, _vocabulary


class MaskedLM(_masks.Guessing):
    """Cross-entropy at the masked positions. Masks are drawn anew in each epoch; those of rows that are measured stay the same."""

    unit: Literal["token", "word", "span"] = "token"
    """What is masked as one. word: all tokens of a word, so that its rest never gives it away. span: one to ten tokens in a row."""

    def head(self) -> Head:
        """A masked language model."""
        return Head(auto="AutoModelForMaskedLM")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces of documents with the tokenizer's special tokens around them."""
        _masks.mask_token(tokenizer, "masked-lm")
        made = _pieces.encoded(_pieces.wrapped(rows, tokenizer, length))
        return _masks.with_words(made, tokenizer) if self.unit == "word" else made

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids with masks in them [B, T], and as labels the tokens that stood there, -100 elsewhere."""
        ids_BT, mask_BT = _pieces.padded(encoded, rows, tokenizer)
        free_BT = (mask_BT > 0) & ~np.isin(ids_BT, tokenizer.all_special_ids)
        of = _masks.Rows(encoded, rows, draw)
        hidden = _masks.choose(self.unit, free_BT, self.share, of)
        return _pieces.tensors(
            input_ids=_masks.cover(ids_BT, hidden, (self.masked, self.replaced), of, tokenizer),
            attention_mask=mask_BT,
            labels=np.where(hidden[0], ids_BT, _vocabulary.NOT_ASKED),
        )

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats, summed over the guessed tokens."""
        return _vocabulary.language_loss(model, inputs(batch), batch["labels"])

    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, count and hits of each row."""
        return _vocabulary.language_results(model, inputs(batch), batch["labels"])

    def check(self, model: nn.Module) -> None:
        """Refuse a model whose scores are more than its output layer's."""
        _vocabulary.check_output_layer(model, _vocabulary.few_tokens(model))
