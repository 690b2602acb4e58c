"""Shared by tasks whose answers are written token by token.

Shape letters: B rows, L lines of rows, T tokens, M tokens, of rows or with a label.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rootstock.core import packing
from rootstock.core.errors import BaseError
from rootstock.core.mode import in_mode
from rootstock.core.rows import Columns, Encoded, boxed, spell
from rootstock.core.task import Batch
from rootstock.tasks import _pieces, _seq2seq, _vocabulary

_ALONE = "leave out task.packing, or choose another base"
LEAST = 32
"""Tokens that a prompt must leave to be written."""
ENDS = "ends"
"""In a batch: the ids at which a text that is being written ends, [E]."""
ROW_OF = "row_of"
"""In a batch whose rows share lines: which of its rows each place is of, [L, T]."""


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
    # Behind vectors peft tells no position from padding: rows of one length have none.
    alike_B = own_B if before and not both else torch.zeros_like(own_B)
    for count, length in sorted(set(zip(most_B.tolist(), alike_B.tolist(), strict=True))):
        rows_M = ((most_B == count) & (alike_B == length)).nonzero()[:, 0]
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
    """What a causal model's forward takes; of lines that rows share positions, by which transformers tells these apart, and no mask."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}


def learned(encoded: Encoded, rows: np.ndarray, tokenizer: Any, names: tuple[str, str]) -> dict[str, Tensor]:
    """Ids and mask [B, T], and as labels the next token where it is asked, -100 elsewhere. names: of the columns of ids and marks."""
    ids_BT, mask_BT = encoded.tokens[names[0]].masked(rows, tokenizer.pad_token_id)
    asked_BT = encoded.tokens[names[1]].padded(rows, 0)
    labels_BT = np.full_like(ids_BT, _vocabulary.NOT_ASKED)
    labels_BT[:, :-1] = np.where(asked_BT[:, 1:] > 0, ids_BT[:, 1:], _vocabulary.NOT_ASKED)
    return _pieces.tensors(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT)


def packed(encoded: Encoded, rows: np.ndarray, names: tuple[str, str]) -> dict[str, Tensor]:
    """The same with rows one after the other in lines: ids and labels [L, T], positions that begin again in each row, and whose they are.

    What fills a line up has position 0 throughout, so that it is apart from the rows, and is of row -1; it is no padding token, for which
    transformers would miss a mask.
    """
    held, asked = (encoded.tokens[name] for name in names)
    lengths_B = held.lengths[rows]
    found = packing.lines(lengths_B, int(encoded.lengths.max()))
    starts_B = np.concatenate([np.cumsum(lengths_B[places]) - lengths_B[places] for places in found])
    lines_B = np.repeat(np.arange(len(found)), [len(places) for places in found])
    row_M = np.repeat(np.arange(len(rows)), lengths_B)
    within_M = np.arange(len(row_M)) - np.repeat(np.cumsum(lengths_B) - lengths_B, lengths_B)
    source_M, place = held.offsets[rows][row_M] + within_M, (lines_B[row_M], starts_B[row_M] + within_M)
    shape = len(found), max(int(lengths_B[places].sum()) for places in found)
    follows_M = np.minimum(source_M + 1, len(held.flat) - 1)
    told_M = (within_M + 1 < lengths_B[row_M]) & (asked.flat[follows_M] > 0)
    values = {
        "input_ids": (held.flat[source_M], held.flat[source_M[0]]),
        "position_ids": (within_M, 0),
        "labels": (np.where(told_M, held.flat[follows_M], _vocabulary.NOT_ASKED), _vocabulary.NOT_ASKED),
        ROW_OF: (row_M, -1),
    }
    made = {name: np.full(shape, empty, dtype=np.int64) for name, (_, empty) in values.items()}
    for name, (values_M, _) in values.items():
        made[name][place] = values_M
    return _pieces.tensors(**made)


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


def compared(model: nn.Module, inputs: Batch, labels_BT: Tensor, rows_BT: Tensor | None = None) -> np.ndarray:
    """The loss of each labelled token, an array a row. rows_BT: which row a position is of, if not its line's."""
    with torch.no_grad():
        losses_M = _vocabulary.token_losses(model, inputs, labels_BT)
    return told_apart(losses_M, *_vocabulary.rows_asked(labels_BT, rows_BT))


@torch.no_grad()
def check_apart(model: nn.Module) -> None:
    """Prove on a few tokens that rows in one line don't see one another; BaseError where they do."""
    plain = _vocabulary.plain_model(model)
    if "position_ids" not in inspect.signature(plain.forward).parameters:
        raise BaseError(f"{type(plain).__name__} takes no positions, by which rows in one line are told apart", fix=_ALONE)
    ids_1T = torch.tensor([[1, 2, 3, 2, 1]], device=next(plain.parameters()).device)
    positions_1T = torch.tensor([[0, 1, 2, 0, 1]], device=ids_1T.device)
    with in_mode(plain, training=False):
        alone = torch.cat([plain(input_ids=part).logits for part in (ids_1T[:, :3], ids_1T[:, 3:])], 1)
        together = plain(input_ids=ids_1T, position_ids=positions_1T, use_cache=False).logits
    if (alone - together).abs().max() > 1e-4 * alone.abs().max():
        raise BaseError(f"{type(plain).__name__} lets rows in one line see one another", fix=_ALONE)
