"""Cloze prompts: what a masked model puts where a word is missing, and how sure it is.

Shape letters: M masks of a prompt, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch

from rootstock.core.errors import BaseError, UsageError
from rootstock.evaluation.probes.likelihood import logits_at
from rootstock.run.opened import Opened, open_base

MASK = "[MASK]"
"""How any prompt may write a mask, whatever the model's own token is."""


def fill(reference: str, prompts: Sequence[str], *, top: int = 5) -> list[dict[str, Any]]:
    """For each prompt its masks in order, each with the `top` likeliest tokens, their probabilities and the text with that one filled.

    Several masks of a prompt are filled independently of each other. Raises BaseError for a model that fills no masks, UsageError for a
    prompt without a mask or longer than the model takes.
    """
    if top < 1:
        raise UsageError(f"--top is {top}", wanted="1 or more")
    if not prompts:
        raise UsageError("no prompt", wanted=f'a text such as "The capital of France is {MASK}."')
    opened = open_base(reference)
    if opened.kind != "masked" or opened.tokens.mask_token is None:
        lack = "has no head that fills masks" if opened.kind != "masked" else "has a tokenizer without a mask token"
        raise BaseError(f"{reference} ({opened.architecture}) {lack}", wanted="…ForMaskedLM", fix="pretrain one with --task masked-lm")
    return [_filled(opened, prompt, top) for prompt in prompts]


def as_text(found: Sequence[dict[str, Any]]) -> str:
    """Prompts with their answers below."""
    return "\n\n".join("\n".join(_lines(each)) for each in found)


def _lines(found: dict[str, Any]) -> list[str]:
    masks = found["masks"]
    lines = [found["prompt"]]
    if len(masks) > 1:
        lines.append(f"{len(masks)} masks, each filled as if the others stayed masked")
    for number, answers in enumerate(masks, 1):
        lines += [f"mask {number}"] if len(masks) > 1 else []
        width = max(len(each["token"]) for each in answers)
        lines += [f"  {each['probability']:7.2%}  {each['token']:<{width}}  {each['text']}" for each in answers]
    return lines


def _filled(opened: Opened, prompt: str, top: int) -> dict[str, Any]:
    tokens = opened.tokens
    own = prompt.replace(MASK, tokens.mask_token)
    ids = tokens(own)["input_ids"]
    places = [i for i, each in enumerate(ids) if each == tokens.mask_token_id]
    if not places:
        raise UsageError(f"no mask in {prompt[:80]!r}", wanted=f"{MASK}, or this model's own {tokens.mask_token}", fix=f"write {MASK} once")
    if len(ids) > opened.room:
        raise UsageError(f"a prompt of {len(ids):,} tokens", wanted=f"at most {opened.room:,}, all that the model takes", fix="shorten it")
    ids_1T = torch.tensor([ids], device=opened.model.device)
    with torch.inference_mode():
        probabilities_MV = logits_at(opened.model, ids_1T, ids_1T == tokens.mask_token_id).float().softmax(1)
    shares_MK, chosen_MK = probabilities_MV.topk(min(top, probabilities_MV.shape[1]), dim=1)
    masks = [
        [_answer(opened, ids, place, token, share) for token, share in zip(chosen, shares, strict=True)]
        for place, chosen, shares in zip(places, chosen_MK.tolist(), shares_MK.tolist(), strict=True)
    ]
    return {"prompt": prompt, "masks": masks}


def _answer(opened: Opened, ids: list[int], place: int, token: int, share: float) -> dict[str, Any]:
    """A token for one mask. text: the prompt with it, other masks as they are."""
    tokens = opened.tokens
    text = tokens.decode([*ids[:place], token, *ids[place + 1 :]], clean_up_tokenization_spaces=False)
    for special in {tokens.cls_token, tokens.sep_token, tokens.bos_token, tokens.eos_token, tokens.pad_token} - {None, tokens.mask_token}:
        text = text.replace(special, "")
    return {"token": tokens.decode([token]).strip(), "id": token, "probability": share, "text": text.strip()}
