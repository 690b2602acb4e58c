"""Tell what belongs to a text from all other texts: its other view, or the text that it is paired with (SimCSE).

Prefer it for bases whose vectors are to be compared (search, clustering, feature-extraction), best after masked-lm, which teaches the
language first. Needs documents (views: dropout), or a table of pairs that mean the same or answer each other (views: pairs), none of them
twice: a copy would be its own negative. Gao et al. 2021, https://arxiv.org/abs/2104.08821; pairs: Henderson et al. 2017,
https://arxiv.org/abs/1705.00652

Shape letters: N rows of an update, B rows in a batch, V = 2 views, T tokens, H width, G rows that are told from each other.
"""

from collections.abc import Collection
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head
from rootstock.core.mode import in_mode
from rootstock.core.objective import Contrastive
from rootstock.core.rows import PAIR, PART, TEXT, Columns, Encoded, Ragged
from rootstock.core.seed import HELD_OUT, Draw
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _pieces, _vectors, _vocabulary

_VIEWS = 2
_HIDDEN = 0.15
"""Share of the tokens that the second view of a measured row does not see: without dropout both are equal, and always found."""


class ContrastiveText(Contrastive):
    """Symmetric InfoNCE: cross-entropy of a view's other view among those of all rows of the update, by cosine, both ways.

    Views by dropout: each text passes twice, and dropout alone tells the passes apart. Pairs: text and text_pair.
    """

    rate: ClassVar[float] = 5e-4
    batch_tokens: ClassVar[int] = 16384
    dropout: ClassVar[float] = 0.1
    length: ClassVar[int] = 64

    views: Literal["dropout", "pairs"] = "dropout"
    """What is to be found: the same text under other dropout, or the second text of a table's row."""
    text_pair: str | None = None
    """Column of the second text, for pairs. None: found by name."""
    temperature: float = Field(default=0.05, gt=0)
    """What cosines are divided by. 0.05 is the paper's best of 0.001 to 1: smaller looks at the nearest negatives only."""
    pool: Literal["mean", "cls"] = "mean"
    """Which vector stands for a text: the mean over its tokens, which feature-extraction reads as well, or the first token's."""

    @property
    def reads(self) -> Literal["documents", "pairs"]:  # type: ignore[override]  # here a setting decides it
        """A table of pairs, or documents."""
        return "pairs" if self.views == "pairs" else "documents"

    def head(self) -> Head:
        """The body alone: what is learned are its vectors."""
        return Head(auto="AutoModel")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces of documents; or both texts of a row, cut at `length`, without rows that lack one. A row costs what its two views do."""
        if self.views == "dropout":
            made = _pieces.encoded(_pieces.wrapped(rows, tokenizer, length))
            return Encoded(made.tokens, made.dense, _VIEWS * made.lengths)
        first, second = (_vectors.cut(rows.column(name).to_pylist(), tokenizer, length) for name in (TEXT, PAIR))
        whole = [place for place, (a, b) in enumerate(zip(first, second, strict=True)) if a and b]
        held = {name: Ragged.of([ids[place] for place in whole]) for name, ids in (("input_ids", first), ("pair_ids", second))}
        return Encoded(held, {PART: np.array(whole, np.int32)}, _VIEWS * np.maximum(held["input_ids"].lengths, held["pair_ids"].lengths))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids and mask of both views, [B, V, T]; with views by dropout both are the same, but for rows that are measured."""
        names = ("input_ids", "pair_ids") if self.views == "pairs" else ("input_ids", "input_ids")
        ids_BVT, mask_BVT = _vectors.side_by_side(encoded, names, rows, tokenizer.pad_token_id)
        wide = ids_BVT.shape[2]
        if self.views == "dropout" and draw.epoch == HELD_OUT:
            free_BT = ~np.isin(ids_BVT[:, 1], tokenizer.all_special_ids) & (np.arange(wide) > 0)
            mask_BVT[:, 1] &= ~(free_BT & (draw.uniform("view", rows, wide) < _HIDDEN))
        return _pieces.tensors(input_ids=ids_BVT, attention_mask=mask_BVT.astype(np.int64))

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Vectors of both views, [B, V, H]: one pass over all of them, so that dropout differs."""
        return _vectors.embedded(model, batch, self.pool)

    def couple(self, model: nn.Module, vectors_BVH: Tensor, labels: Tensor | None = None) -> Loss:
        """InfoNCE in nats, the mean of both ways, summed over the rows."""
        losses_N, _ = self._contrast(_vectors.unit(vectors_BVH))
        return Loss(losses_N.sum(), len(losses_N))

    def told(self, model: nn.Module, vectors_GVH: Tensor) -> dict[str, Tensor]:
        """Loss, count and hits of each row; its views' distance; and its nearness to the others, summed over these, with their number."""
        units_GVH = _vectors.unit(vectors_GVH)
        losses_G, hits_G = self._contrast(units_GVH)
        near_GG = (-2 * torch.cdist(units_GVH[:, 0], units_GVH[:, 0]).square()).exp()
        others_G = torch.full_like(losses_G, len(losses_G) - 1)
        return {
            "loss": losses_G,
            "count": torch.ones_like(losses_G),
            "hits": hits_G,
            "distance": (units_GVH[:, 0] - units_GVH[:, 1]).square().sum(1),
            "near": near_GG.sum(1) - near_GG.diagonal(),
            "others": others_G,
        }

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """loss, accuracy (its other view is the nearest), and alignment and uniformity of the vectors, both the lower the better.

        Wang and Isola 2020, https://arxiv.org/abs/2005.10242
        """
        found = super().metrics(columns)
        if found:
            found["alignment"] = float(np.mean(columns["distance"], dtype=np.float64))
            others = float(np.sum(columns["others"], dtype=np.float64))
            if others:
                found["uniformity"] = float(np.log(np.sum(columns["near"], dtype=np.float64) / others))
        return found if names is None else {name: found[name] for name in names if name in found}

    @torch.no_grad()
    def check(self, model: nn.Module) -> None:
        """Refuse a model that gives no vectors of tokens, whose first token sees nothing, or that draws nothing at random where it must."""
        _vectors.check(model, self.pool)
        plain, few = _vocabulary.plain_model(model), _vocabulary.few_tokens(model)
        if self.views == "dropout" and not _draws(plain, few):
            raise BaseError(
                f"{type(plain).__name__} drops nothing: both views of a text would be one",
                wanted="dropout above 0",
                fix="set training.dropout to 0.1 if it is 0; else choose a base with dropout, or --set task.views=pairs",
            )

    def _contrast(self, units_NVH: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each row, and how often its other view is the nearest, both the mean of both ways, [N]."""
        scores_NN = units_NVH[:, 0] @ units_NVH[:, 1].T / self.temperature
        losses_2N, hits_2N = (torch.stack(both) for both in zip(*map(_vectors.told_apart, (scores_NN, scores_NN.T)), strict=True))
        return losses_2N.mean(0), hits_2N.mean(0)


def _draws(plain: nn.Module, few: Batch) -> bool:
    """Whether two passes in training differ; the generator is left as it was."""
    with in_mode(plain, training=True), torch.random.fork_rng(devices=[]):
        one, two = (plain(**few).last_hidden_state for _ in range(2))
    return not torch.equal(one, two)
