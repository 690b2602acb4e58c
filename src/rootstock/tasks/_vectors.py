"""Shared by tasks whose answers are vectors of texts: texts side by side, one vector each, and what tells them from each other.

Shape letters: N rows of an update, B rows in a batch, V texts of a row, T tokens, H width, C candidates.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rootstock.core.errors import BaseError
from rootstock.core.mode import in_mode
from rootstock.core.rows import Encoded
from rootstock.core.task import Batch
from rootstock.core.tokens import around, tokenised
from rootstock.tasks import _vocabulary

Pool = Literal["mean", "cls", "last"]


def cut(texts: Sequence[str], tokenizer: Any, length: int | None) -> list[list[int]]:
    """Ids of each text as the tokenizer wraps it, cut at `length`; nothing where a text has no tokens."""
    held = around(tokenizer)
    room = length - len(held.before) - len(held.after) if length else None
    made = tokenised(tokenizer, texts, add_special_tokens=False)["input_ids"]
    return [[*held.before, *ids[:room], *held.after] if ids else [] for ids in made]


def side_by_side(encoded: Encoded, names: Sequence[str], rows: np.ndarray, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of these columns of tokens, both [B, V, T]."""
    views = [encoded.tokens[name] for name in names]
    wide = max(int(view.lengths[rows].max(initial=0)) for view in views)
    ids_BVT = np.full((len(rows), len(views), wide), padding)
    mask_BVT = np.arange(wide) < np.stack([view.lengths[rows] for view in views], 1)[..., None]
    for number, view in enumerate(views):
        ids_BT = view.padded(rows, padding)
        ids_BVT[:, number, : ids_BT.shape[1]] = ids_BT
    return ids_BVT, mask_BVT


def embedded(model: nn.Module, batch: Batch, pool: Pool) -> Tensor:
    """Vectors of all texts of the rows, [B, V, H]: one pass over all of them, so that dropout differs."""
    rows, views, wide = batch["input_ids"].shape
    given = {name: batch[name].reshape(rows * views, wide) for name in ("input_ids", "attention_mask")}
    return pooled(model(**given).last_hidden_state, given["attention_mask"], pool).reshape(rows, views, -1)


def pooled(states_BTH: Tensor, mask_BT: Tensor, pool: Pool) -> Tensor:
    """One vector a row in fp32, [B, H]: the mean over the real tokens, the first token's, or the last real one's."""
    if pool == "cls":
        return states_BTH[:, 0].float()
    if pool == "last":
        last_B = (mask_BT.sum(1) - 1).clamp(min=0)
        return states_BTH[torch.arange(len(last_B), device=last_B.device), last_B].float()
    mask_BT1 = mask_BT[..., None]
    return (states_BTH.float() * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1 in fp32."""
    return functional.normalize(vectors.float(), dim=-1)


def told_apart(scores_NC: Tensor, alike_NC: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row's own candidate, the one in its place, among all, and whether it scores highest, both [N].

    alike_NC: candidates that are right for a row as well, and no negatives of it; its own is never left out.
    """
    own_N = torch.arange(len(scores_NC), device=scores_NC.device)
    if alike_NC is not None:
        alike_NC = alike_NC.clone()
        alike_NC[own_N, own_N] = False
        scores_NC = scores_NC.masked_fill(alike_NC, -torch.inf)
    return functional.cross_entropy(scores_NC, own_N, reduction="none"), (scores_NC.argmax(1) == own_N).float()


@torch.no_grad()
def check(model: nn.Module, pool: Pool) -> None:
    """Refuse a model that gives no vectors of tokens, and one whose token of `pool` sees none of the others."""
    plain, few = _vocabulary.plain_model(model), _vocabulary.few_tokens(model)
    name = type(plain).__name__
    if not _gives_vectors(plain, few):
        raise BaseError(f"{name} gives no vectors of tokens", wanted="an encoder or a decoder of text", fix="choose another base")
    if pool == "cls" and not _first_sees(plain, few):
        raise BaseError(f"the first token of {name} sees none of the others", wanted="a vector of the text", fix="set task.pool to mean")


def _gives_vectors(plain: Any, few: Batch) -> bool:
    if plain.config.is_encoder_decoder:
        return False
    try:
        return hasattr(plain(**few), "last_hidden_state")
    except (TypeError, ValueError):  # a model that reads something besides text
        return False


def _first_sees(plain: nn.Module, few: Batch) -> bool:
    changed = {**few, "input_ids": few["input_ids"].clone()}
    changed["input_ids"][0, -1] += 1
    with in_mode(plain, training=False):
        before, after = (plain(**each).last_hidden_state[:, 0] for each in (few, changed))
    return not torch.allclose(before, after, atol=1e-6)


def companions(width: int, length: int, pool: Pool) -> dict[str, Any]:
    """The JSON files that make a model folder one of sentence-transformers: its modules, how it pools, and that vectors get length 1."""
    modes = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    kind = "sentence_transformers.models."
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"{kind}{name}"} for i, (path, name) in enumerate(kinds)]
    pooling = {"word_embedding_dimension": width, **{f"pooling_mode_{name}": key == pool for key, name in modes.items()}}
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling | {"include_prompt": True},
        "2_Normalize/config.json": {},
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    }
