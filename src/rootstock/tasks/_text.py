"""Shared by tasks on one text or a pair: token ids and padded batches.

Shape letters: N rows, B rows in a batch, T tokens in a row, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rootstock.core import tokens
from rootstock.core.rows import PAIR, TEXT, Encoded, Ragged, column
from rootstock.core.task import Batch, inputs


def encode_texts(rows: pa.Table, tokenizer: Any, length: int | None, labels: np.ndarray | None) -> Encoded:
    """Ids (and segment ids where there are two texts), cut at `length` from the longer text first."""
    texts = [column(rows, name) for name in (TEXT, PAIR) if name in rows.column_names]
    wanted = {"input_ids": np.int32, **({"token_type_ids": np.int8} if len(texts) == 2 else {})}
    made: dict[str, list[Ragged]] = {"input_ids": [Ragged.of([])]}
    for part in tokens.parts(tokenizer, *texts, length=length):
        for name in wanted.keys() & part.keys():
            made.setdefault(name, []).append(Ragged.of(part[name], wanted[name]))
    held = {name: Ragged.joined(found) for name, found in made.items()}
    return Encoded(held, {} if labels is None else {"labels": labels}, held["input_ids"].lengths)


def pad_batch(encoded: Encoded, rows: np.ndarray, tokenizer: Any) -> dict[str, Tensor]:
    """The chosen rows as tensors [B, T], padded on the right to the longest of them."""
    ids_BT, mask_BT = encoded.tokens["input_ids"].masked(rows, tokenizer.pad_token_id)
    batch = {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT)}
    if "token_type_ids" in encoded.tokens:
        batch["token_type_ids"] = torch.from_numpy(encoded.tokens["token_type_ids"].padded(rows, 0))
    if "labels" in encoded.dense:
        batch["labels"] = torch.from_numpy(encoded.dense["labels"][rows])
    return batch


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """The model's answers in fp32, [B, C]."""
    given = inputs(batch)
    kinds_B = _ends(model, given)
    if kinds_B is None:
        out: Tensor = model(**given).logits
        return out.float()
    groups = [(kinds_B == kind).nonzero()[:, 0] for kind in set(kinds_B.tolist())]
    found = [model(**{name: value[rows_M] for name, value in given.items()}).logits for rows_M in groups]
    return torch.cat(found).float()[torch.cat(groups).argsort()]


def _ends(model: nn.Module, given: Batch) -> Tensor | None:
    """How many end tokens each row has, [B], where that differs: T5's and BART's classifiers take only rows that are alike in it."""
    config: Any = getattr(model, "config", None)
    if not getattr(config, "is_encoder_decoder", False):
        return None
    ends_B = (given["input_ids"] == config.eos_token_id).sum(1)
    return ends_B if len(set(ends_B.tolist())) > 1 else None


def numbers(values: Sequence[Any], *, finite: bool = True) -> list[float] | None:
    """The values as numbers, or None where one of them is none; nan and inf count as numbers unless they must be `finite`."""
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return found if not finite or np.isfinite(found).all() else None


def in_order(names: set[str]) -> tuple[str, ...]:
    """Label names in the order that people expect: by number where all are numbers, else by letter."""
    values = {name: numbers([name]) for name in names}
    return tuple(sorted(names, key=lambda name: (0, values[name], name) if all(values.values()) else (1, [0.0], name)))
