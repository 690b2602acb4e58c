"""Which tokens are hidden: by token, by word, by span.

Shape letters: B rows in a batch, T tokens in a row.
"""

from typing import Any, NamedTuple

import numpy as np

from rootstock.core.errors import BaseError
from rootstock.core.rows import Encoded, Ragged
from rootstock.core.seed import Draw

_SPAN_STOP, _SPAN_MOST = 0.2, 10
"""A span ends after each token with this chance, and at ten at the latest: 3.8 tokens in the mean, as in SpanBERT."""


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


def check_token(tokenizer: Any, task: str) -> None:
    """BaseError where the tokenizer has nothing to mask with."""
    if tokenizer.mask_token_id is None:
        raise BaseError(
            "the tokenizer has no mask token", wanted=f"one for {task}", fix="train one: rootstock tokenizer train --family bert"
        )


def with_words(encoded: Encoded, tokenizer: Any) -> Encoded:
    """The same rows with the place of the first token of each token's word."""
    inner = _goes_on(tokenizer)
    ids = encoded.tokens["input_ids"]
    starts = np.where(inner[ids.flat], 0, np.arange(len(ids.flat)))
    starts[ids.offsets[:-1]] = ids.offsets[:-1]  # a row begins a word, whatever it begins with
    first = np.maximum.accumulate(starts) - np.repeat(ids.offsets[:-1], ids.lengths)
    return Encoded({**encoded.tokens, "words": Ragged(first.astype(np.int32), ids.offsets)}, encoded.dense, encoded.lengths)


def _goes_on(tokenizer: Any) -> np.ndarray:
    """For each id whether its token goes on with the word before: ## of WordPiece, no leading space mark of byte-level BPE and Unigram."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    if any(token.startswith("##") for token in tokens):
        return np.array([token.startswith("##") for token in tokens])
    special = set(tokenizer.all_special_tokens)
    return np.array([not token.startswith(("Ġ", "▁", "Ċ")) and token not in special for token in tokens])


def _spans(free_BT: np.ndarray, share: float, of: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Spans until the share is reached, none over another or over a token that is not free."""
    chosen_BT = np.zeros(free_BT.shape, bool)
    first_BT = np.tile(np.arange(free_BT.shape[1]), (len(free_BT), 1))
    for free_T, chosen_T, first_T, row in zip(free_BT, chosen_BT, first_BT, of.rows.tolist(), strict=True):
        rng = of.draw.generator("hide", row)
        wanted = rng.binomial(int(free_T.sum()), share)  # so that short rows get their share in the mean
        for start in rng.permutation(np.flatnonzero(free_T)).tolist():
            size = min(int(rng.geometric(_SPAN_STOP)), _SPAN_MOST, wanted)
            span = slice(start, start + size)
            if size and free_T[span].all() and len(free_T[span]) == size and not chosen_T[span].any():
                chosen_T[span], first_T[span] = True, start
                wanted -= size
    return chosen_BT, first_BT
