"""Guess a token from the mean of those around it (word2vec's continuous bag of words).

Prefer it where minutes and memory are short and the meaning of single words is what counts; prefer bidirectional-lm or masked-lm where
their order does. Needs documents and `--base scratch:cbow`. Mikolov et al. 2013, https://arxiv.org/abs/1301.3781; negative sampling and
the thinning of frequent tokens: https://arxiv.org/abs/1310.4546

Shape letters: B rows, T tokens that are left of a row, K candidates, the true one first, V vocabulary, N guessed tokens, H width.
"""

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head
from rootstock.core.objective import Objective
from rootstock.core.rows import Columns, Encoded, Ragged
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _pieces, _vocabulary

_POWER = 0.75
"""Negatives are drawn by frequency to this power: of those tried by Mikolov et al. the one that served best."""


class Cbow(Objective):
    """Tell each token from drawn ones by the mean of its neighbours. What is drawn is drawn anew in each epoch."""

    rate: ClassVar[float] = 2e-2
    batch_tokens: ClassVar[int] = 16384
    length: ClassVar[int] = 512
    likelihood: ClassVar[bool] = False

    window: int = Field(default=5, ge=1)
    """Tokens on each side that count, at most: each place draws a number from 1 to this, so near ones count more. 5 is word2vec's."""
    negatives: int = Field(default=5, ge=1)
    """Drawn tokens that each true one is told from. 5 to 20 suit small corpora, 2 to 5 large ones (Mikolov et al.)."""
    subsample: float = Field(default=1e-3, ge=0)
    """Tokens that make up more of the corpus than this share are left out at random, the more the commoner they are; 0 keeps all."""

    _table: "_Table | None" = PrivateAttr(None)

    def head(self) -> Head:
        """Two tables of vectors; the base remembers how they were learned."""
        return Head(auto="AutoModelForPreTraining", options={"window": self.window, "negatives": self.negatives})

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces without special tokens, the unknown one among them: it stands for many. What has no neighbour is left out."""
        special = tokenizer.all_special_ids
        made = _pieces.pieces(rows, tokenizer, length or 10**9)
        bare = (piece._replace(ids=piece.ids[~np.isin(piece.ids, special)]) for piece in made)
        return _pieces.encoded([piece for piece in bare if len(piece.ids) > 1])

    def fit(self, train: Encoded) -> Self:
        """Count the tokens: what is left out and which negatives are drawn goes by how common they are here, for measured rows as well."""
        made = self.model_copy()
        made._table = _Table.of(train.tokens["input_ids"])
        return made

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """What is left of the rows [B, T], how far each place looks [B, T], and as labels the true token and the drawn ones [B, T, K]."""
        table = self._table
        assert table is not None, "fit comes first"
        ids_BT, there_BT = encoded.tokens["input_ids"].masked(rows, 0)
        keep_BT = (there_BT > 0) & (draw.uniform("keep", rows, ids_BT.shape[1]) < table.kept(ids_BT, self.subsample))
        ids_BT, mask_BT = _closed_up(ids_BT, keep_BT)
        places = ids_BT.shape[1]
        window_BT = 1 + (draw.uniform("window", rows, places) * self.window).astype(np.int64)
        # A stream of its own for each negative, so that a row's numbers do not depend on how wide its batch is.
        drawn_BTK = np.stack([table.drawn(draw.uniform(f"negative {k}", rows, places)) for k in range(self.negatives)], axis=2)
        labels_BTK = np.concatenate([ids_BT[..., None], drawn_BTK], axis=2)
        return _pieces.tensors(input_ids=ids_BT, attention_mask=mask_BT, window=window_BT, labels=labels_BTK)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Logistic loss in nats of the true token and the drawn ones together, summed over the places that have a neighbour."""
        scores_NK, told_NK, _ = _scores(model, batch)
        return Loss(_losses(scores_NK, told_NK).sum(), len(scores_NK))

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, count and hits of each row; a hit scores the true token above all that were drawn."""
        scores_NK, told_NK, rows_N = _scores(model, batch)
        others_N = scores_NK[:, 1:].masked_fill(~told_NK[:, 1:], -torch.inf).amax(1)
        found = {"loss": _losses(scores_NK, told_NK), "count": torch.ones_like(rows_N), "hits": scores_NK[:, 0] > others_N}
        return {name: _pieces.summed(values_N, rows_N, len(batch["labels"])) for name, values_N in found.items()}

    def check(self, model: nn.Module) -> None:
        """Refuse a model that is no CbowForPreTraining."""
        plain = _vocabulary.plain_model(model)
        if not callable(getattr(plain, "scores", None)):
            raise BaseError(
                f"{type(plain).__name__} has no contexts to compare tokens with",
                wanted="a continuous bag of words",
                fix="choose --base scratch:cbow, or --task masked-lm for this base",
            )


def _scores(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the candidates [N, K], which of them count [N, K], and the row of each place [N]."""
    plain = _vocabulary.plain_model(model)
    out = plain(batch["input_ids"], batch["attention_mask"], window_BT=batch["window"])
    at_BT = (batch["attention_mask"] > 0) & (out.around > 0)
    labels_NK = batch["labels"][at_BT]
    told_NK = labels_NK != labels_NK[:, :1]  # the true token drawn once more says nothing, as in word2vec
    told_NK[:, 0] = True
    return plain.scores(out.context[at_BT], labels_NK), told_NK, at_BT.nonzero()[:, 0]


def _losses(scores_NK: Tensor, told_NK: Tensor) -> Tensor:
    """Binary cross-entropy of each place: the first candidate is true, the others are not, [N]."""
    signs_K = torch.ones(scores_NK.shape[1], device=scores_NK.device)
    signs_K[0] = -1
    return (nn.functional.softplus(signs_K * scores_NK) * told_NK).sum(1)


def _closed_up(ids_BT: np.ndarray, keep_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kept tokens moved together, so that a window reaches over what was left out; ids and mask, as wide as the longest row needs."""
    width = max(int(keep_BT.sum(1).max(initial=0)), 1)
    order_BT = np.argsort(~keep_BT, axis=1, kind="stable")[:, :width]
    mask_BT = np.take_along_axis(keep_BT, order_BT, axis=1)
    return np.where(mask_BT, np.take_along_axis(ids_BT, order_BT, axis=1), 0), mask_BT.astype(np.int64)


class _Table(NamedTuple):
    """How common each token is. share: of all, with a zero behind that stands for those never seen, [V].

    reach: running sum of what negatives are drawn by, up to 1, [V].
    """

    share: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, ids: Ragged) -> "_Table":
        """Count the tokens of these rows."""
        counts_V = np.append(np.bincount(ids.flat), 0).astype(np.float64)
        reach_V = np.cumsum(counts_V**_POWER)
        return cls(counts_V / max(counts_V.sum(), 1), reach_V / reach_V[-1])

    def kept(self, ids_BT: np.ndarray, threshold: float) -> np.ndarray:
        """Chance of each token to stay, [B, T]: that of word2vec's program, which is a little higher than the paper's."""
        ratio_V = np.divide(threshold, self.share, out=np.full_like(self.share, np.inf), where=self.share > 0)
        chance_V = np.sqrt(ratio_V) + ratio_V if threshold else np.ones_like(self.share)
        return np.asarray(chance_V[np.minimum(ids_BT, len(chance_V) - 1)])

    def drawn(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers in [0, 1) as tokens, each as likely as its frequency to the power of 0.75 says."""
        return np.searchsorted(self.reach, numbers, side="right")
