"""Text that goes on from a prompt, drawn with a seed."""

from dataclasses import dataclass
from typing import Any

import torch

from rootstock.bases.load import quiet
from rootstock.core.errors import BaseError, UsageError, fitting
from rootstock.core.seed import derive
from rootstock.run.opened import Opened, open_base


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How the next token is drawn. top_k: among the k likeliest; None: all. top_p: among the likeliest that hold this share together.

    greedy: always the likeliest, and then nothing is drawn. Raises UsageError where they contradict.
    """

    max_tokens: int = 40
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool = False
    seed: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        limits: tuple[tuple[str, float | None, bool, str], ...] = (
            ("max-tokens", self.max_tokens, self.max_tokens >= 1, "1 or more"),
            ("count", self.count, self.count >= 1, "1 or more"),
            ("temperature", self.temperature, self.temperature > 0, "more than 0; --greedy takes always the likeliest"),
            ("top-k", self.top_k, self.top_k is None or self.top_k >= 1, "1 or more"),
            ("top-p", self.top_p, self.top_p is None or 0 < self.top_p <= 1, "more than 0, at most 1"),
        )
        for name, value, good, wanted in limits:
            if not good:
                raise UsageError(f"--{name} is {value:g}", wanted=wanted)
        drawn = {"temperature": self.temperature != 1.0, "top-k": self.top_k is not None, "top-p": self.top_p is not None}
        if self.greedy and (said := [name for name, given in drawn.items() if given] or (["count"] if self.count > 1 else [])):
            raise UsageError(f"--greedy and --{said[0]}", wanted="one of the two: greedily nothing is drawn")

    @property
    def options(self) -> dict[str, Any]:
        """For transformers' generate."""
        if self.greedy:
            return {"do_sample": False}
        return {"do_sample": True, "temperature": self.temperature, "top_k": self.top_k or 0, "top_p": self.top_p or 1.0}


def generate(reference: str, prompt: str, drawing: Drawing) -> dict[str, Any]:
    """`count` texts that go on from the prompt; each ends with the end token or at max_tokens. Same seed, same texts.

    Raises BaseError for a model that generates nothing, UsageError for a prompt that leaves no room.
    """
    opened = open_base(reference)
    if opened.kind not in ("causal", "seq2seq"):
        wanted = "…ForCausalLM, …LMHeadModel or …ForConditionalGeneration"
        raise BaseError(f"{reference} ({opened.architecture}) generates no text", wanted=wanted, fix="pretrain one with --task causal-lm")
    return go_on(opened, prompt, drawing)


def go_on(opened: Opened, prompt: str, drawing: Drawing) -> dict[str, Any]:
    """The same by a model that is open. Raises UsageError for a prompt that leaves no room."""
    ids = _read(opened, prompt)
    room = opened.room - (0 if opened.kind == "seq2seq" else len(ids))
    if len(ids) > opened.room or room < 1:
        raise UsageError(
            f"a prompt of {len(ids):,} tokens", wanted=f"fewer than {opened.room:,}, all that the model takes", fix="shorten the prompt"
        )
    most = min(drawing.max_tokens, room)
    _settle(opened, drawing)
    return {
        "prompt": prompt,
        "prompt_tokens": len(ids),
        "max_tokens": most,
        "seed": None if drawing.greedy else drawing.seed,
        "texts": [_go_on(opened, ids, drawing, most, number) for number in range(drawing.count)],
    }


def as_text(found: dict[str, Any]) -> str:
    """The texts, parted by a line where there are several."""
    return "\n---\n".join(each["text"] for each in found["texts"])


def _read(opened: Opened, prompt: str) -> list[int]:
    """The prompt as the model saw text in training: after its BOS, and without an end."""
    tokens = opened.tokens
    if opened.kind == "seq2seq":
        return list(tokens(prompt)["input_ids"])
    ids = tokens(prompt, add_special_tokens=False)["input_ids"]
    begins = tokens.bos_token_id is not None
    if not ids and not begins:
        raise UsageError("an empty prompt", wanted="a text: this tokenizer has no token to begin with", fix="give the first words")
    return [tokens.bos_token_id, *ids] if begins else list(ids)


def _settle(opened: Opened, drawing: Drawing) -> None:
    """Draw as told, and not as the model's generation_config.json would; only the tokens that it begins and ends with stay."""
    from transformers import GenerationConfig

    old, tokens = opened.model.generation_config, opened.tokens
    begins = {name: getattr(old, name, None) for name in ("decoder_start_token_id", "forced_bos_token_id")}
    said = old.eos_token_id if isinstance(old.eos_token_id, list) else [old.eos_token_id]
    ends = sorted({tokens.eos_token_id, *said} - {None})
    opened.model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=tokens.pad_token_id, bos_token_id=tokens.bos_token_id, **begins, **drawing.options
    )


@torch.inference_mode()
def _go_on(opened: Opened, ids: list[int], drawing: Drawing, most: int, number: int) -> dict[str, Any]:
    """One text. Each has a seed of its own, so that the first of three is the same as the first of one."""
    tokens, ids_1T = opened.tokens, torch.tensor([ids], device=opened.model.device)
    devices = [opened.model.device] if opened.model.device.type == "cuda" else []
    with quiet(), torch.random.fork_rng(devices=devices), fitting("a text of that length", fix="lower --max-tokens"):
        torch.manual_seed(derive(drawing.seed, "generate", number))
        made_1T = opened.model.generate(
            input_ids=ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            max_new_tokens=most,
        )
    new = made_1T[0].tolist()[0 if opened.kind == "seq2seq" else len(ids) :]
    ended = bool(new) and new[-1] in opened.model.generation_config.eos_token_id
    text = tokens.decode(new if opened.kind == "seq2seq" else ids + new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return {"text": text, "tokens": len(new), "ended": ended}
