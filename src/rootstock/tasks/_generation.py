"""Shared by tasks whose answers are written token by token.

Shape letters: B rows, T tokens, M tokens with a label.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rootstock.core.rows import Columns, Encoded, boxed, spell
from rootstock.core.task import Batch
from rootstock.tasks import _pieces, _seq2seq, _vocabulary

LEAST = 32
"""Tokens that a prompt must leave to be written."""
ENDS = "ends"
"""In a batch: the ids at which a text that is being written ends, [E]."""


def said(values: Sequence[Any]) -> list[str]:
    """Cells as texts; a text keeps its blanks, as one before a completion parts it from its prompt."""
    return [each if isinstance(each, str) else spell(each) for each in values]


def strings(column: Any) -> bool:
    """Whether a column holds texts."""
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


@torch.no_grad()
def written(model: Any, batch: Batch, *, beams: int, most: int, temperature: float = 0.0) -> list[np.ndarray]:
    """Ids that the model writes for each row, without the end and what follows it: at most `most`, and as many as fit.

    temperature: 0 writes the likeliest; above it each token is drawn from torch's own generator.
    Rows for which fewer fit are written apart, or they would cut short what stands in the same batch.
    """
    plain = _vocabulary.plain_model(model)
    ends, both = sorted({*batch[ENDS].tolist(), *_own_ends(plain)}), plain.config.is_encoder_decoder
    own_B = batch["attention_mask"].sum(1)
    begun_B = torch.ones_like(own_B) if both else own_B
    # Vectors that peft puts before each row take positions as well.
    before = getattr(getattr(model, "active_peft_config", None), "num_virtual_tokens", 0)
    most_B = ((getattr(plain.config, "max_position_embeddings", None) or 10**9) - before - begun_B).clamp(1, most)
    writer, found = model if hasattr(model, "generate") else plain, [np.empty(0, np.int64)] * len(own_B)
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False, "num_beams": beams}
    for count in sorted(set(most_B.tolist())):
        rows_M = (most_B == count).nonzero()[:, 0]
        part_BT = slice(None) if both else slice(-int(own_B[rows_M].max()), None)  # padding stands on the left of what is gone on with
        ids_MT, mask_MT = (batch[name][rows_M][:, part_BT] for name in ("input_ids", "attention_mask"))
        with _settled(plain, ends, max_new_tokens=count, **drawn):
            made_MT = writer.generate(input_ids=ids_MT, attention_mask=mask_MT).cpu().numpy()
        for row, ids_T in zip(rows_M.tolist(), made_MT[:, 1 if both else ids_MT.shape[1] :], strict=True):
            found[row] = _before_end(ids_T, ends)
    return found


def _own_ends(plain: Any) -> list[int]:
    """Where the model itself says that a text ends: a chat model may have an end of a turn beside that of a text."""
    said = plain.generation_config.eos_token_id
    return said if isinstance(said, list) else [] if said is None else [said]


def _before_end(ids_T: np.ndarray, ends: list[int]) -> np.ndarray:
    at = np.flatnonzero(np.isin(ids_T, ends))
    return ids_T[: at[0]] if len(at) else ids_T


def read(batch: Batch) -> dict[str, Tensor]:
    """What a causal model's forward takes."""
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def learned(encoded: Encoded, rows: np.ndarray, tokenizer: Any, names: tuple[str, str]) -> dict[str, Tensor]:
    """Ids and mask [B, T], and as labels the next token where it is asked, -100 elsewhere. names: of the columns of ids and marks."""
    ids_BT, mask_BT = encoded.tokens[names[0]].masked(rows, tokenizer.pad_token_id)
    asked_BT = encoded.tokens[names[1]].padded(rows, 0)
    labels_BT = np.full_like(ids_BT, _vocabulary.NOT_ASKED)
    labels_BT[:, :-1] = np.where(asked_BT[:, 1:] > 0, ids_BT[:, 1:], _vocabulary.NOT_ASKED)
    return _pieces.tensors(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT)


def prompts(encoded: Encoded, rows: np.ndarray, tokenizer: Any) -> dict[str, Tensor]:
    """Ids and mask [B, T] padded on the left, so that all rows go on at the right, and the ids at which a text ends."""
    held = encoded.tokens["input_ids"]
    ids_BT, mask_BT = held.masked(rows, tokenizer.pad_token_id)
    back_BT = (np.arange(ids_BT.shape[1]) - (ids_BT.shape[1] - held.lengths[rows])[:, None]) % max(ids_BT.shape[1], 1)
    ids_BT, mask_BT = (np.take_along_axis(each, back_BT, axis=1) for each in (ids_BT, mask_BT))
    return _pieces.tensors(input_ids=ids_BT, attention_mask=mask_BT, **{ENDS: np.array([_seq2seq.end_token(tokenizer)])})


def unigram(train: Encoded, validation: Encoded) -> Columns:
    """Loss, tokens and hits of each validation row where every token has its share of what training asks, each counted once more."""
    asked, held = (part.tokens["input_ids"].flat[part.tokens["asked"].flat > 0] for part in (train, validation))
    known = np.unique(np.concatenate([asked, held]))
    counts = np.bincount(np.searchsorted(known, asked), minlength=len(known)) + 1.0
    losses = -np.log(counts / counts.sum())
    marks, offsets = validation.tokens["asked"].flat > 0, validation.tokens["asked"].offsets
    places = np.searchsorted(known, held)
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[marks]
    values = {"loss": losses[places], "count": np.ones(len(held)), "hits": (places == counts.argmax()).astype(np.float64)}
    return {name: np.bincount(row, weights=each, minlength=len(offsets) - 1) for name, each in values.items()}


@contextmanager
def _settled(plain: Any, ends: list[int], **how: Any) -> Iterator[None]:
    """Written as told, and not as the model's generation_config.json would; only the tokens that it begins with stay."""
    from transformers import GenerationConfig

    old = plain.generation_config
    begins = {name: getattr(old, name, None) for name in ("decoder_start_token_id", "bos_token_id", "forced_bos_token_id")}
    if plain.config.is_encoder_decoder and begins["decoder_start_token_id"] is None:
        begins["decoder_start_token_id"] = getattr(plain.config, "decoder_start_token_id", None)
    pad = plain.config.pad_token_id if plain.config.pad_token_id is not None else ends[0]
    plain.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad, **how, **begins)
    try:
        yield
    finally:
        plain.generation_config = old


def texts(ids: np.ndarray, tokenizer: Any) -> np.ndarray:
    """Written ids as texts, [N]."""
    made = [tokenizer.decode(each, skip_special_tokens=True, clean_up_tokenization_spaces=False) for each in ids.tolist()]
    return boxed([each.strip() for each in made])


@torch.no_grad()
def told_apart(losses_M: Tensor, rows_M: Tensor, count: int) -> np.ndarray:
    """Losses of tokens as an array for each row, [count]: what a merge is compared by."""
    losses, rows = losses_M.float().cpu().numpy(), rows_M.cpu().numpy()
    return boxed([losses[rows == row] for row in range(count)])


def loss_of(columns: Columns, names: tuple[str, ...] = ("loss", "count", "hits")) -> dict[str, np.ndarray]:
    """What a language model's loss is made of, where the rows had answers."""
    return {name: columns[name] for name in names if name in columns}


def compared(model: nn.Module, inputs: Batch, labels_BT: Tensor) -> np.ndarray:
    """The loss of each labelled token, an array a row."""
    with torch.no_grad():
        losses_M = _vocabulary.token_losses(model, inputs, labels_BT)
    return told_apart(losses_M, (labels_BT != _vocabulary.NOT_ASKED).nonzero()[:, 0], len(labels_BT))
