"""Write a text again that was damaged: spans masked, tokens lost, sentences shuffled, begun in the middle (BART's denoising).

Prefer it to span-corruption where the base is to rewrite whole texts, such as for summaries: the decoder writes all of the text, which
costs more a step. Needs documents, and a tokenizer with a mask token. Lewis et al. 2020, https://arxiv.org/abs/1910.13461

Shape letters: N rows, B rows in a batch, T tokens of a row, V vocabulary.
"""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field
from torch import nn

from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head
from rootstock.core.objective import Objective
from rootstock.core.rows import Columns, Encoded, Ragged
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss
from rootstock.core.tokens import around
from rootstock.tasks import _masks, _pieces, _seq2seq

_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟")
"""What a token that ends a sentence ends with."""


class Denoising(Objective):
    """Source: the damaged text. Target: the whole text. The defaults are BART's own pre-training: infilling and all sentences shuffled.

    The damage is drawn anew in each epoch; that of rows that are measured stays the same. Most of the target stands in the source, so the
    loss is far below that of other objectives and says little beside theirs.
    """

    likelihood: ClassVar[bool] = False

    infilling: float = Field(default=0.3, ge=0, lt=1)
    """Share of the tokens that spans take, each replaced by one mask token, so that its length must be guessed too. 0.3 is BART's."""
    mean_span: float = Field(default=3.0, gt=0)
    """Mean of the Poisson distribution of a span's tokens. A span of none is a mask that stands for nothing. 3 is BART's."""
    permutation: float = Field(default=1.0, ge=0, le=1)
    """Share of the sentences that change places. BART shuffles them all."""
    deletion: float = Field(default=0.0, ge=0, lt=1)
    """Share of the tokens that are left out without a trace. Alone it did as well as infilling in BART's table 1."""
    rotation: float = Field(default=0.0, ge=0, le=1)
    """Share of the rows that begin at another token, what came before it behind. Alone it did poorly there."""

    def head(self) -> Head:
        """An encoder with a decoder that writes."""
        return Head(auto="AutoModelForSeq2SeqLM")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces as the tokenizer wraps a text, and the number of each token's sentence."""
        if not (self.infilling or self.permutation or self.deletion or self.rotation):
            raise RecipeError("nothing damages the texts", wanted="something to learn", fix="raise task.infilling or another share")
        _masks.mask_token(tokenizer, "denoising")
        made = _pieces.encoded(_pieces.wrapped(rows, tokenizer, length))
        return Encoded({**made.tokens, "sentences": _sentences(made.tokens["input_ids"], tokenizer)}, made.dense, made.lengths)

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Damaged ids and mask, and as labels the whole row. A source is never longer than its row."""
        ids, sentences = encoded.tokens["input_ids"], encoded.tokens["sentences"]
        held, mask = around(tokenizer), _masks.mask_token(tokenizer, "denoising")
        sources, targets = [], []
        for row in rows.tolist():
            whole = slice(ids.offsets[row], ids.offsets[row + 1])
            text = slice(whole.start + len(held.before), whole.stop - len(held.after))
            damaged_T = self.damaged(ids.flat[text], sentences.flat[text], mask, draw.generator("damage", row))
            sources.append(np.concatenate([held.before, damaged_T, held.after]).astype(np.int64))
            targets.append(ids.flat[whole])
        return _seq2seq.batch(sources, targets, tokenizer)

    def damaged(self, ids_T: np.ndarray, sentences_T: np.ndarray, mask: int, rng: np.random.Generator) -> np.ndarray:
        """A text's tokens with all damage that is set; at most as many as before."""
        if self.permutation:
            ids_T = shuffled(ids_T, sentences_T, self.permutation, rng)
        if self.deletion:
            ids_T = ids_T[rng.random(len(ids_T)) >= self.deletion]
        if self.infilling:
            ids_T = infilled(ids_T, spans(len(ids_T), self.infilling, self.mean_span, rng), mask, rng)
        if self.rotation and len(ids_T) and rng.random() < self.rotation:
            ids_T = np.roll(ids_T, -int(rng.integers(len(ids_T))))
        return ids_T

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats, summed over the target's tokens."""
        return _seq2seq.loss(model, batch)

    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, count and hits of each row."""
        return _seq2seq.decode(model, batch)

    def check(self, model: nn.Module) -> None:
        """Refuse a model without encoder and decoder, or whose scores are more than its output layer's."""
        _seq2seq.check(model)


def shuffled(ids_T: np.ndarray, sentences_T: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The tokens with this share of the sentences in each other's places, every order as likely as any other."""
    held = np.split(ids_T, np.flatnonzero(np.diff(sentences_T)) + 1)
    chosen = rng.permutation(len(held))[: int(np.ceil(share * len(held)))]
    order = np.arange(len(held))
    order[np.sort(chosen)] = chosen
    return np.concatenate([held[place] for place in order])


def spans(tokens: int, share: float, mean: float, rng: np.random.Generator) -> np.ndarray:
    """Lengths of the spans of a text: Poisson, together the share rounded up, the last one cut to it.

    No more spans than tokens that they take, or a short text would grow: spans of none that are too many are left out.
    """
    wanted, drawn = int(np.ceil(tokens * share)), np.empty(0, np.int64)
    while drawn.sum() < wanted:
        drawn = np.concatenate([drawn, rng.poisson(mean, wanted)])
    last = int(np.searchsorted(np.cumsum(drawn), wanted)) if wanted else -1
    drawn = drawn[: last + 1]
    drawn[last:] -= drawn.sum() - wanted
    spare = wanted - int((drawn > 0).sum())
    return drawn[(drawn > 0) | (np.cumsum(drawn == 0) <= spare)]


def infilled(ids_T: np.ndarray, spans_S: np.ndarray, mask: int, rng: np.random.Generator) -> np.ndarray:
    """The tokens with one mask in place of each span; every way to lay the spans without overlap is as likely as any other."""
    left = len(ids_T) - int(spans_S.sum())
    masked = np.zeros(left + len(spans_S), bool)
    masked[rng.permutation(len(masked))[: len(spans_S)]] = True
    taken = np.ones(len(masked), np.int64)
    taken[masked] = rng.permutation(spans_S)
    firsts = np.cumsum(taken) - taken  # a span of none at the very end has no token to begin at
    return np.where(masked, mask, ids_T[np.minimum(firsts, len(ids_T) - 1)])


def _sentences(ids: Ragged, tokenizer: Any) -> Ragged:
    """The number of each token's sentence in its row: one ends where a token such as a full stop is followed by another kind."""
    kinds, places = np.unique(ids.flat, return_inverse=True)
    words = tokenizer.batch_decode(kinds[:, None], clean_up_tokenization_spaces=False)
    ends = np.array([word.rstrip().endswith(_ENDS) for word in words], bool)[places]
    begins = np.concatenate([[False], ends[:-1]]) & ~ends
    numbers = np.cumsum(begins)
    return Ragged((numbers - np.repeat(numbers[ids.offsets[:-1]], ids.lengths)).astype(np.int32), ids.offsets)
