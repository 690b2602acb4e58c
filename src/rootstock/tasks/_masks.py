"""Which tokens are hidden: by token, by word, by span.

Shape letters: B rows in a batch, T tokens in a row.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, ValidationInfo, field_validator
from tokenizers import models

from rootstock.core.errors import BaseError
from rootstock.core.objective import Objective
from rootstock.core.rows import Encoded, Ragged
from rootstock.core.seed import Draw

_SPAN_STOP, _SPAN_MOST = 0.2, 10
"""A span ends after each token with this chance; longer ones than ten are not drawn at all."""


class Guessing(Objective):
    """An objective that hides tokens and lets them be guessed."""

    share: float = Field(default=0.15, gt=0, lt=1)
    """Of the tokens that are guessed. 0.15 is BERT's; larger bases gain from up to 0.4 (Wettig et al. 2023, arXiv:2202.08005)."""
    masked: float = Field(default=0.8, ge=0, le=1)
    """Share of the guessed tokens that become the mask token."""
    replaced: float = Field(default=0.1, ge=0, le=1, validate_default=True)
    """Share of them that become a random token; the rest stay as they are, so that the model can't trust what it sees."""

    @field_validator("replaced")
    @classmethod
    def _within_the_rest(cls, value: float, info: ValidationInfo) -> float:
        left = 1 - info.data.get("masked", 0.0)
        if value > left + 1e-9:
            raise ValueError(f"at most {left:.4g}: what task.masked leaves of 1")
        return value


class Rows(NamedTuple):
    """The rows of a batch, and where their random numbers come from."""

    encoded: Encoded
    rows: np.ndarray
    draw: Draw


def choose(unit: str, free_BT: np.ndarray, share: float, of: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Which of the free tokens are hidden [B, T], and for each the place that decides for its whole unit [B, T]."""
    own_BT = np.broadcast_to(np.arange(free_BT.shape[1]), free_BT.shape)
    if unit == "span":
        return _spans(free_BT, share, of)
    if unit == "word":
        words_BT = of.encoded.tokens["words"].padded(of.rows, 0)
        own_BT = words_BT
    numbers_BT = of.draw.uniform("hide", of.rows, free_BT.shape[1])
    return free_BT & (np.take_along_axis(numbers_BT, own_BT, axis=1) < share), own_BT


def cover(ids_BT: np.ndarray, hidden: tuple[np.ndarray, np.ndarray], ways: tuple[float, float], of: Rows, tokenizer: Any) -> np.ndarray:
    """The ids with the hidden ones (as `choose` gave them) written over. ways: shares that become the mask and a random token."""
    (chosen_BT, unit_BT), (masked, replaced) = hidden, ways
    way_BT = np.take_along_axis(of.draw.uniform("way", of.rows, ids_BT.shape[1]), unit_BT, axis=1)
    random_BT = (of.draw.uniform("token", of.rows, ids_BT.shape[1]) * len(tokenizer)).astype(np.int64)
    covered_BT = np.where(chosen_BT & (way_BT < masked), tokenizer.mask_token_id, ids_BT)
    return np.where(chosen_BT & (way_BT >= masked) & (way_BT < masked + replaced), random_BT, covered_BT)


def mask_token(tokenizer: Any, task: str) -> int:
    """The id of the mask token; BaseError where there is none."""
    mask: int | None = tokenizer.mask_token_id
    if mask is None:
        raise BaseError(
            "the tokenizer has no mask token", wanted=f"one for {task}", fix="train one: rootstock tokenizer train --family bert"
        )
    return mask


def with_words(encoded: Encoded, tokenizer: Any) -> Encoded:
    """The same rows with the place of the first token of each token's word."""
    ids = encoded.tokens["input_ids"]
    starts = np.where(_go_on(ids.flat, tokenizer), 0, np.arange(len(ids.flat)))
    starts[ids.offsets[:-1]] = ids.offsets[:-1]  # a row begins a word, whatever it begins with
    first = np.maximum.accumulate(starts) - np.repeat(ids.offsets[:-1], ids.lengths)
    return Encoded({**encoded.tokens, "words": Ragged(first.astype(np.int32), ids.offsets)}, encoded.dense, encoded.lengths)


def _go_on(ids_N: np.ndarray, tokenizer: Any) -> np.ndarray:
    """Whether each token goes on with the word before it, [N], as the tokenizer's model marks that.

    Its tokens alone do not say which mark it uses: a byte-level vocabulary may well hold a "##" of its own.
    """
    kinds, places = np.unique(ids_N, return_inverse=True)
    tokens, special = tokenizer.convert_ids_to_tokens(kinds.tolist()), set(tokenizer.all_special_tokens)
    model = tokenizer.backend_tokenizer.model
    if isinstance(model, models.WordLevel):
        return np.zeros(len(ids_N), bool)
    if prefix := getattr(model, "continuing_subword_prefix", None):  # WordPiece
        return np.array([token.startswith(prefix) for token in tokens], bool)[places]
    if suffix := getattr(model, "end_of_word_suffix", None):  # BPE as it was first published
        ends_N = np.array([token.endswith(suffix) or token in special for token in tokens], bool)[places]
        return np.concatenate([[False], ~ends_N[:-1]])
    return np.array([not token.startswith(("Ġ", "▁", "Ċ")) and token not in special for token in tokens], bool)[places]


def span_size(number: float) -> int:
    """Tokens of a span from a number in [0, 1): SpanBERT's geometric distribution on one to ten, of mean 3.8 (Joshi et al. 2020)."""
    stay = 1 - _SPAN_STOP
    return 1 + int(math.log1p(-number * (1 - stay**_SPAN_MOST)) / math.log(stay))


def _spans(free_BT: np.ndarray, share: float, of: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Spans until the share is reached, none over another or over a token that is not free."""
    chosen_BT = np.zeros(free_BT.shape, bool)
    first_BT = np.tile(np.arange(free_BT.shape[1]), (len(free_BT), 1))
    for free_T, chosen_T, first_T, row in zip(free_BT, chosen_BT, first_BT, of.rows.tolist(), strict=True):
        rng = of.draw.generator("hide", row)
        wanted = rng.binomial(int(free_T.sum()), share)  # so that short rows get their share in the mean
        for start in rng.permutation(np.flatnonzero(free_T)).tolist():
            size = min(span_size(rng.random()), wanted)
            span = slice(start, start + size)
            if size and free_T[span].all() and len(free_T[span]) == size and not chosen_T[span].any():
                chosen_T[span], first_T[span] = True, start
                wanted -= size
    return chosen_BT, first_BT
