"""Guess each token from those before it, and apart from that from those after it (ELMo's two language models).

Prefer it where a small model that knows order and spelling is to be pre-trained; prefer masked-lm where there is time for a transformer,
cbow where single words are enough. Needs documents and `--base scratch:elmo-small`. Peters et al. 2018, https://arxiv.org/abs/1802.05365

Shape letters: B rows, T tokens, L = T - 1 places between them, P width of a direction, M guessed tokens of both directions.
"""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head
from rootstock.core.objective import Objective
from rootstock.core.rows import Columns, Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _pieces, _vocabulary

_DIRECTIONS = 2


class BidirectionalLM(Objective):
    """Cross-entropy of the next and of the previous token under one softmax layer; all figures are means over both directions."""

    rate: ClassVar[float] = 1e-3

    def head(self) -> Head:
        """A language model from either side."""
        return Head(auto="AutoModelForPreTraining")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces with the tokenizer's special tokens around them, which are guessed too. Bytes of each, once a direction, [N]."""
        made = _pieces.wrapped(rows, tokenizer, length)
        return _pieces.encoded(made, bytes=np.array([_DIRECTIONS * piece.bytes for piece in made], dtype=np.float64))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids and mask [B, T], and bytes [B]; the model itself says what each place guesses."""
        ids_BT, mask_BT = _pieces.padded(encoded, rows, tokenizer)
        return _pieces.tensors(input_ids=ids_BT, attention_mask=mask_BT, bytes=encoded.dense["bytes"][rows])

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats, summed over the tokens of both directions."""
        hidden_MP, labels_M, _ = _states(model, batch)
        layer = _vocabulary.plain_model(model).get_output_embeddings()
        return Loss(_vocabulary.cross_entropy(hidden_MP, layer, labels_M), len(labels_M))

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, count, hits and bytes of each row, both directions together."""
        hidden_MP, labels_M, rows_M = _states(model, batch)
        layer = _vocabulary.plain_model(model).get_output_embeddings()
        found = _vocabulary.row_results(hidden_MP, layer, labels_M, rows_M, count=len(batch["input_ids"]))
        return {**found, "bytes": batch["bytes"].cpu().numpy()}

    def check(self, model: nn.Module) -> None:
        """Refuse a model that is no ElmoForPreTraining."""
        plain = _vocabulary.plain_model(model)
        if not callable(getattr(plain.base_model, "sides", None)):
            raise BaseError(
                f"{type(plain).__name__} does not read a text from either side apart from the other",
                wanted="a forward and a backward language model",
                fix="choose --base scratch:elmo-small, or --task masked-lm for this base",
            )


def _states(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """What the softmax layer reads [M, P], the tokens that stand there [M], and their rows [M]; the forward half comes first."""
    out = _vocabulary.plain_model(model)(batch["input_ids"], batch["attention_mask"])
    asked_2BL = out.targets != _vocabulary.NOT_ASKED
    return out.hidden[asked_2BL], out.targets[asked_2BL], asked_2BL.nonzero()[:, 1]
