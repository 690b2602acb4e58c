"""A text as it is written: token by token with a cache of keys and values, a few tokens a turn, so that batches go on beside it.

Shape letters: T tokens, V vocabulary.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from rootstock.core.errors import RootstockError, RowRefused, UsageError
from rootstock.core.rows import TEXT
from rootstock.serving.opening import Model
from rootstock.serving.rows import table
from rootstock.serving.told import Piece, Writing
from rootstock.serving.working import Caught

Prompt = str | Sequence[Mapping[str, str]]
"""A text to go on from, or a conversation: {"role": …, "content": …} each."""
_TURN_SECONDS = 0.02
"""How long a turn goes on before others have theirs."""
_BROKEN = "\ufffd"
"""What a decoder writes for a letter whose last bytes are still to come."""


class Writer:
    """One text. asked: ids of the prompt, and those that end a text. tell: takes each piece, or the error that ended it."""

    def __init__(
        self, model: Model, asked: tuple[list[int], list[int]], how: Writing, tell: Callable[[Piece | RootstockError], None]
    ) -> None:
        self.model, self.how, self.tell = model, how, tell
        ids_T, ends = asked
        self.stopped = False
        """Set by a reader who wants no more."""
        self.written = 0
        plain = _plain(model.lane.model)
        self._both = bool(plain.config.is_encoder_decoder)
        self._prompt, self._ends = ids_T, frozenset(ends) | frozenset(_own_ends(plain))
        room = (getattr(plain.config, "max_position_embeddings", None) or 10**9) - (1 if self._both else len(ids_T))
        if room < 1:
            raise RowRefused(0, f"a prompt of {len(ids_T):,} tokens leaves no room", fix="shorten it")
        self.most = min(how.max_tokens, room)
        self._plain, self._said = plain, _Said(model.tokenizer, how.stop)
        self._draw = _Draw(how, plain.device)
        self._state: dict[str, Any] = {}

    def turn(self) -> bool:
        """Write for a short while; whether there is more to write."""
        end = time.perf_counter() + _TURN_SECONDS
        with Caught() as caught:
            while not self.stopped:
                piece = self._next()
                if piece.text or piece.finish:
                    self.tell(piece)
                if piece.finish:
                    return False
                if time.perf_counter() > end:
                    return True
        if caught.error:
            self.tell(caught.error)
        return False

    def _next(self) -> Piece:
        with self.model.lane.writing(self.model.part):
            token = self._draw(self._scores())
        self.written += 1
        if token in self._ends:
            return self._piece(self._said.rest(), "stop")
        text, stopped = self._said.more(token)
        if stopped:
            return self._piece(text, "stop")
        return self._piece(text + self._said.rest(), "length") if self.written >= self.most else self._piece(text, None)

    def _piece(self, text: str, finish: Any) -> Piece:
        return Piece(text=text, finish=finish, prompt_tokens=len(self._prompt), tokens=self.written)

    def _scores(self) -> torch.Tensor:
        """Of the token that comes next, fp32 [1, V]. The prompt is read once; after that only the last token."""
        held, device = self._state, self._plain.device
        if not held:
            prompt_1T = torch.tensor([self._prompt], device=device)
            if self._both:
                held["encoder_outputs"] = self._plain.get_encoder()(input_ids=prompt_1T, attention_mask=torch.ones_like(prompt_1T))
                prompt_1T = torch.tensor([[_begin(self._plain)]], device=device)
        else:
            prompt_1T = torch.tensor([[self._draw.last]], device=device)
        found = self._plain(**held, **{"decoder_input_ids" if self._both else "input_ids": prompt_1T}, use_cache=True)
        held["past_key_values"] = found.past_key_values
        scores: torch.Tensor = found.logits[:, -1].float()
        return scores


class _Draw:
    """The next token of its scores, as transformers' generate draws it."""

    def __init__(self, how: Writing, device: torch.device) -> None:
        from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

        self.greedy, self.last = how.temperature == 0, -1
        self._warp = LogitsProcessorList()
        if not self.greedy and how.temperature != 1:
            self._warp.append(TemperatureLogitsWarper(how.temperature))
        if not self.greedy and how.top_p < 1:
            self._warp.append(TopPLogitsWarper(how.top_p))
        self._generator = torch.Generator(device)
        if how.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(how.seed)

    def __call__(self, scores_1V: torch.Tensor) -> int:
        """The token's id."""
        if self.greedy:
            self.last = int(scores_1V.argmax(-1))
        else:
            shares_1V = self._warp(None, scores_1V).softmax(-1)
            self.last = int(torch.multinomial(shares_1V, 1, generator=self._generator))
        return self.last


class _Said:
    """Tokens as text, without what may still turn out to be a stop text or half of a letter."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self.tokenizer, self.stop = tokenizer, tuple(each for each in stop if each)
        self._ids: list[int] = []
        self._text = ""
        self._told = 0

    def more(self, token: int) -> tuple[str, bool]:
        """What can be told now, and whether a stop text was met."""
        self._ids.append(token)
        self._text = self.tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        met = [place for each in self.stop if (place := self._text.find(each)) >= 0]
        if met:
            self._text = self._text[: min(met)]
            return self._tell(len(self._text)), True
        sure = len(self._text.rstrip(_BROKEN))
        for each in self.stop:  # its beginning may be what stands at the end
            held = next((n for n in range(len(each) - 1, 0, -1) if self._text.endswith(each[:n])), 0)
            sure = min(sure, len(self._text) - held)
        return self._tell(sure), False

    def rest(self) -> str:
        """What was held back."""
        return self._tell(len(self._text))

    def _tell(self, up_to: int) -> str:
        found = self._text[self._told : max(up_to, self._told)]
        self._told = max(up_to, self._told)
        return found


def read(model: Model, prompt: Prompt) -> tuple[list[int], list[int]]:
    """Ids of a prompt as the model's task reads it, and those at which a text ends. UsageError for what it can't read."""
    encoded = model.task.encode(_asked(model, prompt), model.tokenizer, model.length)
    batch = model.batch(encoded, np.arange(1))
    return encoded.tokens["input_ids"].flat.tolist(), batch["ends"].tolist()


def _asked(model: Model, prompt: Prompt) -> pa.Table:
    if isinstance(prompt, str):
        return table([{TEXT: prompt}], model.info, model.task)
    if not model.info.chat:
        raise UsageError(f"{model.info.name} learned from no conversations", wanted="one text", fix="ask for a completion")
    for index, each in enumerate(prompt):
        if not isinstance(each, Mapping) or not all(isinstance(each.get(part), str) for part in ("role", "content")):
            raise RowRefused(index, "is no message", wanted='{"role": "user", "content": "a text"}')
    if not prompt or prompt[-1]["role"] == "assistant":
        raise RowRefused(max(len(prompt) - 1, 0), "asks nothing", wanted="a conversation whose last message is the user's")
    held = [{part: each[part] for part in ("role", "content")} for each in prompt]
    return table([{TEXT: held[-1]["content"]}], model.info, model.task).append_column("messages", pa.array([json.dumps(held)]))


def check(model: Model, how: Writing) -> None:
    """UsageError for a model that writes nothing, or settings that mean nothing."""
    name = model.info.name
    if "generate" not in model.info.can:
        raise UsageError(
            f"{name} ({model.info.task}) writes no text", wanted="a model of text-generation or text-to-text", fix="ask it to predict"
        )
    if getattr(getattr(model.lane.model, "active_peft_config", None), "num_virtual_tokens", 0):
        raise UsageError(
            f"{name} ({model.info.method}) can't be written with as it comes",
            wanted="a method without vectors before the text",
            fix="ask it to predict",
        )
    good = how.max_tokens >= 1 and 0 <= how.temperature <= 100 and 0 < how.top_p <= 1
    if not good:
        raise UsageError(
            f"max_tokens {how.max_tokens}, temperature {how.temperature:g}, top_p {how.top_p:g}",
            wanted="max_tokens of 1 or more, temperature from 0 to 100, top_p above 0 and at most 1",
        )


def _plain(model: Any) -> Any:
    """The transformers model inside what a method wrapped around it."""
    from transformers import PreTrainedModel

    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def _own_ends(plain: Any) -> list[int]:
    said = plain.generation_config.eos_token_id
    return said if isinstance(said, list) else [] if said is None else [said]


def _begin(plain: Any) -> int:
    said = plain.generation_config.decoder_start_token_id
    return int(plain.config.decoder_start_token_id if said is None else said)
