"""How likely a model finds a sentence: the likelihood of a causal model, the pseudo-likelihood of a masked one.

Shape letters: N sentences, B rows of a batch, T tokens, M positions that are asked for, V vocabulary.
Rows of one length go together: nothing is padded, so a sentence's score does not depend on its neighbours.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Masking = Literal["word", "token"]
_BATCH_TOKENS = 4096
_MOST_LOGITS = 2**26
"""Logits held at once, 256 MB of fp32."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model with a head over its vocabulary, and how it is asked.

    masked: whether it fills masks; else it predicts the next token. masking: what a masked model must not see of the word it fills:
    "word", the token and the rest of its word (Kauf & Ivanova 2023, arXiv:2305.10588), or "token", itself alone (Salazar et al. 2020,
    arXiv:1910.14659), which flatters words of many tokens. room: most tokens the model takes. passed: told tokens done and in all.
    """

    model: nn.Module
    tokens: Any
    masked: bool
    room: int
    masking: Masking = "word"
    passed: Callable[[int, int], None] = lambda done, all_: None


@dataclass(frozen=True)
class Scores:
    """nats: summed log-probabilities, [N], NaN where a sentence was longer than the model takes. unknown: share of unknown tokens."""

    nats: np.ndarray
    unknown: float


@dataclass(frozen=True)
class _Questions:
    """Rows of one length. ids, asked: [B, T], what the model reads and where it is asked. wanted, sentences: [M], for which token there,
    and whose sum the answer joins."""

    ids: np.ndarray
    asked: np.ndarray
    wanted: np.ndarray
    sentences: np.ndarray


def log_likelihoods(scorer: Scorer, sentences: Sequence[str], *, only: Sequence[Collection[int] | None] | None = None) -> Scores:
    """Score each sentence, equal ones once. Special tokens are read and not scored; without a BOS neither is the first token.

    only: places of the tokens of each sentence that are scored, as the tokenizer gives them (a masked model's special tokens count, a BOS
    that is put before does not); None: all.
    """
    keys = [
        (text, None if each is None else frozenset(each)) for text, each in zip(sentences, only or [None] * len(sentences), strict=True)
    ]
    unique = list(dict.fromkeys(keys))
    encoded = scorer.tokens([text for text, _ in unique], add_special_tokens=scorer.masked)
    rows = [ids if scorer.masked else _with_bos(scorer, ids) for ids in encoded["input_ids"]]
    nats_N = np.array([np.nan if len(ids) > scorer.room else 0.0 for ids in rows])
    fitting = [int(i) for i in np.argsort([len(ids) for ids in rows], kind="stable") if 0 < len(rows[i]) <= scorer.room]
    total = sum(_cost(scorer, len(rows[i])) for i in fitting)
    done = asked = unknown = 0
    for chosen in _chunks(scorer, fitting, rows):
        ids_NT = np.array([rows[i] for i in chosen])
        words = [_scored(encoded.word_ids(i), unique[i][1]) for i in chosen]
        batch = _masked(scorer, ids_NT, words, chosen) if scorer.masked else _causal(ids_NT, words, chosen)
        np.add.at(nats_N, batch.sentences, _answers(scorer, batch))
        asked += len(batch.wanted)
        unknown += int((batch.wanted == scorer.tokens.unk_token_id).sum()) if scorer.tokens.unk_token_id is not None else 0
        scorer.passed(done := done + sum(_cost(scorer, len(rows[i])) for i in chosen), total)
    place = {key: i for i, key in enumerate(unique)}
    return Scores(nats_N[[place[key] for key in keys]], unknown / max(1, asked))


def _scored(words: Sequence[int | None], only: Collection[int] | None) -> list[int | None]:
    """The word of each token, None where it is not asked for."""
    return [word if only is None or place in only else None for place, word in enumerate(words)]


def logits_at(model: nn.Module, ids_BT: Tensor, asked_BT: Tensor) -> Tensor:
    """Logits [M, V] where asked, row by row: the layer over the vocabulary, which costs as much as a small model, runs only there."""
    body: Any = model.base_model
    inputs = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
    if body is model:  # no head apart from the body to run on less
        return Tensor(model(**inputs).logits)[asked_BT]

    def keep(_: nn.Module, __: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][asked_BT][None]
        return output

    hook = body.register_forward_hook(keep)
    try:
        logits_1MV: Tensor = model(**inputs).logits
    finally:
        hook.remove()
    return logits_1MV[0]


def _with_bos(scorer: Scorer, ids: list[int]) -> list[int]:
    return ids if scorer.tokens.bos_token_id is None else [scorer.tokens.bos_token_id, *ids]


def _cost(scorer: Scorer, length: int) -> int:
    """Tokens that pass the model for a sentence of this length."""
    return length * length if scorer.masked else length


def _chunks(scorer: Scorer, order: Sequence[int], rows: Sequence[list[int]]) -> Iterator[list[int]]:
    """Sentences of one length whose rows fill about a batch; order is by length."""
    chosen: list[int] = []
    for i in order:
        length = len(rows[i])
        if chosen and (length != len(rows[chosen[0]]) or (len(chosen) + 1) * _cost(scorer, length) > _BATCH_TOKENS):
            yield chosen
            chosen = []
        chosen.append(i)
    if chosen:
        yield chosen


def _causal(ids_NT: np.ndarray, words: Sequence[Sequence[int | None]], sentences: Sequence[int]) -> _Questions:
    """Each token is asked for where the one before it is read; the words lack a BOS that was put before them."""
    begun = ids_NT.shape[1] - len(words[0])
    asked_NT = np.zeros_like(ids_NT, dtype=bool)
    wanted_NT = np.array([[word is not None for word in each[1 - begun :]] for each in words], dtype=bool).reshape(len(words), -1)
    asked_NT[:, :-1] = wanted_NT
    return _Questions(ids_NT, asked_NT, ids_NT[:, 1:][wanted_NT], np.repeat(sentences, wanted_NT.sum(1)))


def _masked(scorer: Scorer, ids_NT: np.ndarray, words: Sequence[Sequence[int | None]], sentences: Sequence[int]) -> _Questions:
    """One row for each token that is no special one, with that token masked, and with "word" all later tokens of its word."""
    words_NT = np.array([[-1 if word is None else word for word in each] for each in words])
    sentence_B, place_B = np.nonzero(words_NT >= 0)
    at_T = np.arange(ids_NT.shape[1])
    asked_BT = at_T == place_B[:, None]
    hidden_BT = asked_BT
    if scorer.masking == "word":
        hidden_BT = (words_NT[sentence_B] == words_NT[sentence_B, place_B][:, None]) & (at_T >= place_B[:, None])
    ids_BT = np.where(hidden_BT, scorer.tokens.mask_token_id, ids_NT[sentence_B])
    return _Questions(ids_BT, asked_BT, ids_NT[sentence_B, place_B], np.asarray(sentences)[sentence_B])


@torch.inference_mode()
def _answers(scorer: Scorer, batch: _Questions) -> np.ndarray:
    """Log-probability of each token that is wanted, [M]."""
    device = next(scorer.model.parameters()).device
    rows, length = batch.ids.shape
    asked_B = batch.asked.sum(1)
    most = _MOST_LOGITS // int(scorer.model.config.vocab_size) // max(1, int(asked_B.max(initial=1)))  # type: ignore[union-attr, arg-type]
    step, found, done = max(1, min(_BATCH_TOKENS // length, most)), [], 0
    for start in range(0, rows, step):
        part = slice(start, start + step)
        wanted_M = batch.wanted[done : (done := done + int(asked_B[part].sum()))]
        ids_BT, asked_BT, wanted_M1 = (
            torch.from_numpy(each).to(device) for each in (batch.ids[part], batch.asked[part], wanted_M[:, None])
        )
        logits_MV = logits_at(scorer.model, ids_BT, asked_BT).float()
        found.append((logits_MV.gather(1, wanted_M1)[:, 0] - logits_MV.logsumexp(1)).double().cpu().numpy())
    return np.concatenate(found) if found else np.empty(0)
