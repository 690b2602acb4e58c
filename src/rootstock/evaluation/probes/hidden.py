"""What each layer holds of a stretch of text: the mean over the tokens that lie in it.

Shape letters: L layers with the embeddings first, S stretches, B texts of a batch, T tokens, H width.
The mean, and not the first token: in a causal model the first token of a word has not seen the rest of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootstock.core.errors import BaseError

Span = tuple[int, int]
_BATCH_TOKENS = 4096


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A model without its head, and its tokenizer. room: most tokens it takes. passed: told tokens done and in all."""

    body: nn.Module
    tokens: Any
    room: int
    passed: Callable[[int, int], None] = lambda done, all_: None


@dataclass(frozen=True)
class Layers:
    """vectors: [L, S, H], on the processor, fp32. held: [S], whether any token of the stretch was read; what was cut off has zeros."""

    vectors: Tensor
    held: np.ndarray


def pooled(reader: Reader, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> Layers:
    """Vectors of the stretches of each text, in order. A text is cut at the model's room. Raises BaseError for a model without layers."""
    encoded = reader.tokens(list(texts), truncation=True, max_length=reader.room, return_offsets_mapping=True)
    rows, places = encoded["input_ids"], encoded["offset_mapping"]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in spans])]).astype(int)
    held_S, vectors_LSH = np.zeros(starts[-1], dtype=bool), None
    done, total = 0, sum(map(len, rows))
    for chosen in _batches([len(ids) for ids in rows]):
        layers = _forward(reader.body, torch.tensor([rows[i] for i in chosen]))
        if vectors_LSH is None:
            vectors_LSH = torch.zeros(len(layers), int(starts[-1]), layers[0].shape[-1])
        links = [_links(places[i], spans[i]) + np.array([starts[i], n * len(rows[i])]) for n, i in enumerate(chosen)]
        stretch, token = np.concatenate(links).T
        held_S[stretch] = True
        _add_means(vectors_LSH, layers, stretch, token)
        reader.passed(done := done + sum(len(rows[i]) for i in chosen), total)
    return Layers(torch.zeros(1, 0, 1) if vectors_LSH is None else vectors_LSH, held_S)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Texts of one length go together, so that nothing is padded; empty ones are left out."""
    found: list[list[int]] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        if not lengths[i]:
            continue
        if not found or lengths[found[-1][0]] != lengths[i] or (len(found[-1]) + 1) * lengths[i] > _BATCH_TOKENS:
            found.append([])
        found[-1].append(i)
    return found


@torch.inference_mode()
def _forward(body: Any, ids_BT: Tensor) -> tuple[Tensor, ...]:
    """Each layer's output [B, T, H]."""
    ids_BT = ids_BT.to(next(body.parameters()).device)
    output = body(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), output_hidden_states=True)
    found: tuple[Tensor, ...] = getattr(output, "hidden_states", None) or (output.last_hidden_state,)
    if len({each.shape for each in found}) != 1:
        raise BaseError(f"the layers of {type(body).__name__} differ in width", wanted="layers of one width")
    return found


def _links(places: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    """[?, 2]: which stretch overlaps which token. Special tokens have an empty place and overlap nothing."""
    tokens_T2, spans_S2 = np.array(places).reshape(-1, 2), np.array(spans).reshape(-1, 2)
    within_ST = (tokens_T2[:, 0] < spans_S2[:, 1:]) & (tokens_T2[:, 1] > spans_S2[:, :1])
    return np.argwhere(within_ST)


def _add_means(vectors_LSH: Tensor, layers: Sequence[Tensor], stretch: np.ndarray, token: np.ndarray) -> None:
    """Put the mean of each stretch's tokens in its place."""
    device = layers[0].device
    stretches, back, counts = np.unique(stretch, return_inverse=True, return_counts=True)
    if not len(stretches):
        return
    index, tokens = (torch.from_numpy(each).to(device) for each in (back, token))
    share = torch.from_numpy(1 / counts).to(device, torch.float32)[:, None]
    for vectors_SH, hidden_BTH in zip(vectors_LSH, layers, strict=True):
        summed = torch.zeros(len(stretches), hidden_BTH.shape[-1], device=device)
        summed.index_add_(0, index, hidden_BTH.flatten(0, 1).float()[tokens])
        vectors_SH[torch.from_numpy(stretches)] = (summed * share).cpu()
