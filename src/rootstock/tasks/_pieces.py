"""Shared by objectives on text: documents as pieces that a model takes whole.

A piece never holds two documents, so nothing has to keep them from seeing each other, and batches of like length leave little padding.
Shape letters: N pieces, B pieces in a batch, T tokens in a piece.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from rootstock.core.rows import ENDS, PART, TEXT, Encoded, Ragged, column
from rootstock.core.tokens import around, parts


class Piece(NamedTuple):
    """Consecutive tokens of one text without special ones.

    row: of the table. last: it ends its document, of which a text may be a part. bytes: its share of the text's UTF-8.
    """

    ids: np.ndarray
    row: int
    last: bool
    bytes: float


def pieces(rows: pa.Table, tokenizer: Any, room: int) -> Iterator[Piece]:
    """The texts in as few pieces of at most `room` tokens as it takes, of like length, so that no piece is a mere rest."""
    texts = column(rows, TEXT)
    ends = column(rows, ENDS) if ENDS in rows.column_names else [True] * len(texts)
    made = chain.from_iterable(part["input_ids"] for part in parts(tokenizer, texts, add_special_tokens=False))
    for number, (text, ids) in enumerate(zip(texts, made, strict=True)):
        if not ids:
            continue
        size = len(text.encode("utf-8", "surrogatepass"))
        cut = np.array_split(np.asarray(ids, dtype=np.int32), -(-len(ids) // room))
        for place, part in enumerate(cut):
            yield Piece(part, number, ends[number] and place == len(cut) - 1, size * len(part) / len(ids))


def encoded(made: Sequence[Piece], **dense: np.ndarray) -> Encoded:
    """A row of token ids for each piece."""
    held = Ragged.of([piece.ids for piece in made])
    return Encoded({"input_ids": held}, {PART: np.array([piece.row for piece in made], np.int32), **dense}, held.lengths)


def wrapped(rows: pa.Table, tokenizer: Any, length: int | None) -> list[Piece]:
    """Pieces as the tokenizer wraps a text of its own ([CLS] … [SEP], say), each at most `length` tokens; whole where None."""
    held = around(tokenizer)
    room = (length - len(held.before) - len(held.after)) if length else 10**9
    made = pieces(rows, tokenizer, room)
    return [piece._replace(ids=np.concatenate([held.before, piece.ids, held.after]).astype(np.int32)) for piece in made]


def padded(rows: Encoded, chosen: np.ndarray, tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ids and attention mask of the chosen rows, both int64 [B, T]."""
    return rows.tokens["input_ids"].masked(chosen, tokenizer.pad_token_id)


def tensors(**arrays: np.ndarray) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def summed(values_M: Tensor, rows_M: Tensor, count: int) -> np.ndarray:
    """Sum of the values of each row, [B] of float64."""
    return torch.zeros(count, dtype=torch.float64).index_add_(0, rows_M.cpu(), values_M.double().cpu()).numpy()
