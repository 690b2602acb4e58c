"""What a pre-trained model says on held-out text: words hidden from a masked model, beginnings given to a causal one.

Shape letters: T tokens of a row, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootstock.bases.load import quiet
from rootstock.core import seed
from rootstock.core.mode import in_mode
from rootstock.run.build import Built
from rootstock.run.prepared import Unlabelled

Example = dict[str, Any]
_CLOZES, _CONTINUATIONS = 8, 4
_ROW = 512
"""Most tokens of a row that a model reads here: its scores over the vocabulary exist for all of them at once."""
_BEGINNING, _NEW = 24, 40
"""Tokens that a model is given, and most that it writes."""
_TEMPERATURE, _BEST = 0.8, 50
_AROUND = 220
"""Letters shown on each side of a hidden word."""


def examples(prepared: Unlabelled, built: Built) -> list[Example]:
    """A few held-out rows with what the model makes of them; none where its objective has nothing to show.

    kind "cloze": before, after, answer, share (its probability), rank (1 is the model's first), said [[token, probability], ...].
    kind "continuation": beginning, answer (how the row goes on), said.
    """
    make = {"AutoModelForMaskedLM": _clozes, "AutoModelForCausalLM": _continuations}.get(prepared.task.head().auto)
    if make is None or "input_ids" not in prepared.encoded_validation.tokens:
        return []
    with in_mode(built.learner, training=False), torch.inference_mode(), quiet():
        return make(prepared, built)


def _rows(prepared: Unlabelled) -> list[np.ndarray]:
    """Held-out rows in an order of their own, [T] each."""
    ids = prepared.encoded_validation.tokens["input_ids"]
    order = seed.stream(prepared.recipe.seed, "examples").permutation(len(ids))
    return [ids.flat[ids.offsets[row] : ids.offsets[row + 1]][:_ROW] for row in order.tolist()]


def _clozes(prepared: Unlabelled, built: Built) -> list[Example]:
    tokenizer, found = prepared.tokenizer, []
    rng = seed.stream(prepared.recipe.seed, "examples", "place")
    for ids_T in _rows(prepared) if tokenizer.mask_token_id is not None else ():
        places = _words(ids_T, tokenizer)
        if places:
            found.append(_cloze(ids_T, places[int(rng.integers(len(places)))], tokenizer, built))
        if len(found) == _CLOZES:
            break
    return found


def _words(ids_T: np.ndarray, tokenizer: Any) -> list[int]:
    """Places of words that are one token; where there is none (as in a language without blanks), of any token that is no special one."""
    free = np.flatnonzero(~np.isin(ids_T, tokenizer.all_special_ids)).tolist()
    return [place for place in free if _is_word(ids_T, place, tokenizer.decode)] or free


def _is_word(ids_T: np.ndarray, place: int, decode: Callable[..., str]) -> bool:
    word = decode(ids_T[place : place + 1]).strip()
    before, after = decode(ids_T[max(place - 1, 0) : place + 1]), decode(ids_T[place : place + 2]).strip()
    apart = before.endswith(f" {word}") and not after.removeprefix(word)[:1].isalnum()
    return word.isalpha() and len(word) > 2 and apart


def _cloze(ids_T: np.ndarray, place: int, tokenizer: Any, built: Built) -> Example:
    hidden_T = ids_T.astype(np.int64)
    hidden_T[place] = tokenizer.mask_token_id
    shares_V = _logits(built, hidden_T)[place].softmax(-1)
    share = shares_V[int(ids_T[place])]
    top = shares_V.topk(min(5, len(shares_V)))
    return {
        "kind": "cloze",
        "before": _from_end(_line(ids_T[:place], tokenizer)),
        "after": _from_start(_line(ids_T[place + 1 :], tokenizer)),
        "answer": _token(int(ids_T[place]), tokenizer),
        "share": float(share),
        "rank": int((shares_V > share).sum()) + 1,
        "said": [[_token(number, tokenizer), value] for value, number in zip(top.values.tolist(), top.indices.tolist(), strict=True)],
    }


def _logits(built: Built, ids_T: np.ndarray) -> Tensor:
    """Scores of one row, [T, V] in fp32."""
    ids_BT = torch.from_numpy(ids_T)[None].to(built.accelerator.device)
    scores: Tensor = built.learner(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT)).logits[0]
    return scores.float()


def _continuations(prepared: Unlabelled, built: Built) -> list[Example]:
    found, tokenizer = [], prepared.tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(seed.derive(prepared.recipe.seed, "examples"))
        for ids_T in _rows(prepared):
            start = min(1 + _BEGINNING, len(ids_T) // 2)
            if start < 3:  # a beginning of a word or two says nothing
                continue
            said_T = _written(ids_T[:start], min(_NEW, len(ids_T) - start), tokenizer, built)
            parts = (ids_T[:start], ids_T[start : start + _NEW], said_T)
            found.append(dict(zip(("beginning", "answer", "said"), (_text(part, tokenizer) for part in parts), strict=True)))
            if len(found) == _CONTINUATIONS:
                break
    return [{"kind": "continuation", **each} for each in found]


def _written(ids_T: np.ndarray, most: int, tokenizer: Any, built: Built) -> np.ndarray:
    """What the model writes after these ids, at most `most` tokens: each drawn from its fifty best."""
    from transformers import PreTrainedModel

    model: Any = next(module for module in built.learner.modules() if isinstance(module, PreTrainedModel))
    ids_BT = torch.from_numpy(ids_T.astype(np.int64))[None].to(built.accelerator.device)
    how = {"do_sample": True, "temperature": _TEMPERATURE, "top_k": _BEST, "pad_token_id": tokenizer.pad_token_id}
    made_BT: Tensor = model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), max_new_tokens=most, **how)
    return made_BT[0, ids_BT.shape[1] :].cpu().numpy()


def _text(ids_T: np.ndarray, tokenizer: Any) -> str:
    """Ids as text without special tokens, but for the unknown one: it stands for a word that was there."""
    edges = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    hidden = set(tokenizer.all_special_ids) - ({tokenizer.unk_token_id} - edges)
    text: str = tokenizer.decode([int(number) for number in ids_T if number not in hidden], clean_up_tokenization_spaces=True)
    return text.strip().removeprefix("##")  # WordPiece marks the rest of a word so, here of one that begins in the row before


def _line(ids_T: np.ndarray, tokenizer: Any) -> str:
    return " ".join(_text(ids_T, tokenizer).split())


def _token(number: int, tokenizer: Any) -> str:
    """A token as it is read; by its own name where it is only a blank."""
    return tokenizer.decode([number]).strip() or str(tokenizer.convert_ids_to_tokens(number))


def _from_end(text: str) -> str:
    return text if len(text) <= _AROUND else f"… {text[-_AROUND:].partition(' ')[2]}"


def _from_start(text: str) -> str:
    return text if len(text) <= _AROUND else f"{text[:_AROUND].rpartition(' ')[0]} …"
