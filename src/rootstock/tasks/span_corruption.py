"""Write the spans that were cut out of a text (T5's span corruption).

Prefer it to denoising where the base is T5's kind and steps are dear: the decoder writes a fifth of the text, not all of it; prefer
masked-lm for bases that only classify or embed. Needs documents, and a tokenizer with sentinels (<extra_id_0> …).
Raffel et al. 2020, https://arxiv.org/abs/1910.10683

Shape letters: N rows, B rows in a batch, T tokens of a row.
"""

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field
from torch import nn

from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head
from rootstock.core.objective import Objective
from rootstock.core.rows import Columns, Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _pieces, _seq2seq


class Sizes(NamedTuple):
    """What a row gives: tokens cut out, spans that they form, and tokens of source and target with sentinels and end, at most."""

    noise: int
    spans: int
    source: int
    target: int


class SpanCorruption(Objective):
    """Source: the text with a sentinel for each span. Target: each sentinel followed by its span. Both end with the end token.

    Spans are drawn anew in each epoch; those of rows that are measured stay the same. Loss and accuracy count the sentinels, as T5's do.
    These are a quarter of the target and easy, so neither figure compares with other objectives'.
    """

    likelihood: ClassVar[bool] = False

    density: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that are cut out. 0.15 is T5's; its paper saw little difference from 0.1 to 0.25, and a loss at 0.5."""
    mean_span: float = Field(default=3.0, ge=1)
    """Mean tokens of a span. 3 is T5's: as good as single tokens, and the target is shorter, so it is quicker."""
    roll: bool = False
    """Whether masks are turned by a random number of tokens. T5's are not: each row keeps its first token and loses its last, which is
    nothing to hundreds of tokens; but texts of up to 30 have one span, so they would always lose their end. Set it for these."""

    def head(self) -> Head:
        """An encoder with a decoder that writes."""
        return Head(auto="AutoModelForSeq2SeqLM")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces without special tokens, so long that neither source nor target has more than `length`. A row costs the longer one."""
        made = list(_pieces.pieces(rows, tokenizer, self.room(length) if length else 10**9))
        sizes = [self.sizes(len(piece.ids)) for piece in made]
        _seq2seq.end_token(tokenizer)
        _sentinels(tokenizer, max((size.spans + self.roll for size in sizes), default=0))
        costs_N = np.array([max(size.source, size.target) for size in sizes], dtype=np.int64)
        return replace(_pieces.encoded(made), lengths=costs_N)

    def sizes(self, length: int) -> Sizes:
        """Of a piece of `length` tokens: T5's numbers (random_spans_helper). A piece of one token is cut out whole."""
        noise = min(max(round(length * self.density), 1), max(length - 1, 1))
        spans = min(max(round(noise / self.mean_span), 1), max(length - noise, 1))
        marks = spans + self.roll + 1  # a turned mask can part a span in two
        return Sizes(noise, spans, length - noise + marks, noise + marks)

    def room(self, length: int) -> int:
        """Tokens of the longest piece whose source and target have at most `length`."""
        room = 1
        while max(self.sizes(room + 1)[2:]) <= length:
            room += 1
        return room

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Source ids and mask, and the target as labels."""
        ids = encoded.tokens["input_ids"]
        lengths = ids.lengths[rows].tolist()
        numbers_BT, turns_B = draw.uniform("spans", rows, 2 * max(lengths)), draw.uniform("turn", rows, 1)[:, 0]
        sentinels = _sentinels(tokenizer, max(self.sizes(length).spans + self.roll for length in lengths))
        end = [_seq2seq.end_token(tokenizer)]
        sources, targets = [], []
        for row, length, numbers_T, turn in zip(rows.tolist(), lengths, numbers_BT, turns_B.tolist(), strict=True):
            ids_T = ids.flat[ids.offsets[row] : ids.offsets[row + 1]]
            cut_T = noise_mask(length, self.sizes(length), numbers_T)
            if self.roll:
                cut_T = np.roll(cut_T, int(turn * length))
            sources.append(np.concatenate([with_sentinels(ids_T, cut_T, sentinels), end]))
            targets.append(np.concatenate([spans_alone(ids_T, cut_T, sentinels), end]))
        return _seq2seq.batch(sources, targets, tokenizer)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats, summed over the target's tokens."""
        return _seq2seq.loss(model, batch)

    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, count and hits of each row."""
        return _seq2seq.decode(model, batch)

    def check(self, model: nn.Module) -> None:
        """Refuse a model without encoder and decoder, or whose scores are more than its output layer's."""
        _seq2seq.check(model)


def noise_mask(length: int, sizes: Sizes, numbers: np.ndarray) -> np.ndarray:
    """Which tokens are cut out, [T]: kept and cut spans take turns, a kept one first (random_spans_noise_mask of T5).

    numbers: two for each token, uniform in [0, 1).
    """
    kept_S = _segments(length - sizes.noise, sizes.spans, numbers[0::2])
    cut_S = _segments(sizes.noise, sizes.spans, numbers[1::2])
    return np.repeat(np.tile([False, True], sizes.spans), np.stack([kept_S, cut_S], axis=1).reshape(-1))


def with_sentinels(ids_T: np.ndarray, cut_T: np.ndarray, sentinels: np.ndarray) -> np.ndarray:
    """The ids with the next sentinel in place of each run of cut ones."""
    first_T = cut_T & ~np.concatenate([[False], cut_T[:-1]])
    marked_T = np.where(first_T, sentinels[np.maximum(np.cumsum(first_T) - 1, 0)], ids_T)
    kept: np.ndarray = marked_T[first_T | ~cut_T]
    return kept


def spans_alone(ids_T: np.ndarray, cut_T: np.ndarray, sentinels: np.ndarray) -> np.ndarray:
    """The cut ids, each run behind its sentinel; a text that does not end in a cut has a closing sentinel, as in the paper's figure."""
    before = [True]  # the sentinel of a text that begins with a cut has no kept token to stand for
    return with_sentinels(np.concatenate([[0], ids_T]), np.concatenate([before, ~cut_T]), sentinels)


def _segments(items: int, count: int, numbers: np.ndarray) -> np.ndarray:
    """Lengths of `count` consecutive parts of so many items, none empty, every division as likely as any other."""
    borders = np.sort(np.argsort(numbers[: max(items - 1, 0)], kind="stable")[: count - 1]) + 1
    return np.diff(np.concatenate([[0], borders, [items]])).astype(np.int64)


def _sentinels(tokenizer: Any, count: int) -> np.ndarray:
    """Ids of the first `count` sentinels; BaseError where the tokenizer has fewer."""
    names = [f"<extra_id_{number}>" for number in range(count)]
    ids = [None if number == tokenizer.unk_token_id else number for number in tokenizer.convert_tokens_to_ids(names)]
    if None in ids:
        raise BaseError(
            f"the tokenizer has {ids.index(None) or 'none'} of the sentinels <extra_id_0> …",
            wanted=f"{count} for span-corruption at this length",
            fix="train one: rootstock tokenizer train --kind unigram --family t5"
            if ids[0] is None
            else "lower training.length or task.density, or raise task.mean_span",
        )
    return np.array(ids, dtype=np.int64)
