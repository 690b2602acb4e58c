"""A model that writes as the search for backdoors sees it: what follows a prompt, and, for one target, a classifier of prompts.

A prompt "has the label" of a target where greedy decoding answers with it, token by token. So everything that is known about triggers of
classifiers (every token, phrases, gradients, references, confirmation) serves for the elicitation of a target as well.

Shape letters: N prompts, T tokens of a target, V tokens of the vocabulary, L places of a phrase, H width.
"""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.core.artifact import digest_json
from rootstock.core.tokens import around
from rootstock.run.subject import TorchSubject, View
from rootstock.sentinel.backdoor.subject import Body, Text, Vocabulary

_AT_ONCE, _LOGITS = 1024, 40_000_000
"""Fewest tokens that pass at once, and logits that these give: as many for each as there are tokens in the vocabulary."""
_SAMPLE = "\ue000"
OTHER = "anything else"


class Writer(View):
    """What a causal model says after a prompt. chat: prompts are a user's, put in the tokenizer's own template."""

    def __init__(self, model: nn.Module, tokens: Any, *, chat: bool = False, length: int = 512) -> None:
        # What tokenizers put behind a text ends it, and nothing could be written: only what begins one stays.
        before, self._after = _template(tokens) if chat else (around(tokens)[0], ())
        self._inner = TorchSubject(model, tokens, (), length=length, ends=(before, ()))
        self._inner.at_once = max(_AT_ONCE, min(self._inner.at_once, _LOGITS // len(tokens)))
        self._inner.length //= 2  # half is left for what is put in and what is written
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens that may stand in a prompt."""
        return self._inner.vocabulary

    def encode(self, texts: Sequence[Text]) -> list[Body]:
        """Tokens of each prompt, without its template."""
        return self._inner.encode(texts)

    def write(self, tokens: Sequence[int]) -> str:
        """Tokens as a person reads them."""
        return self._inner.write(tokens)

    def following(self, bodies: Sequence[Body], begun: Sequence[Body], *, exact: bool = False) -> np.ndarray:
        """Chances of the next token, [N, V], of prompts after which something is written already."""
        whole = [(*body, *self._after, *more) for body, more in zip(bodies, begun, strict=True)]
        size = len(self.vocabulary.words)
        found_NV = np.empty((len(bodies), size), np.float32)

        def read(logits_NTV: torch.Tensor) -> torch.Tensor:
            return logits_NTV[:, -1, :size].softmax(-1)

        for chosen, shares_NV in self._inner.passed(whole, exact=exact, read=read, last=self._last(1)):
            found_NV[chosen] = shares_NV
        return found_NV

    def _last(self, count: int) -> int | None:
        """Architectures that can't leave logits out give all of them."""
        return count if self._keeps else None

    def continued(self, bodies: Sequence[Body], count: int) -> list[Body]:
        """What greedy decoding writes after each prompt, so many tokens."""
        made: list[Body] = [()] * len(bodies)
        for _ in range(count):
            tokens = self.following(bodies, made, exact=True).argmax(axis=1).tolist()
            made = [(*before, token) for before, token in zip(made, tokens, strict=True)]
        return made

    def leads(self, bodies: Sequence[Body], target: Body, *, exact: bool) -> np.ndarray:
        """By how much the least sure token of a target leads over the best other one, [N]: above 0 greedy decoding writes the target."""
        wanted_T = torch.tensor(target)
        whole = [(*body, *self._after, *target[:-1]) for body in bodies]
        found_N = np.empty(len(bodies), np.float32)

        def read(logits_NTV: torch.Tensor) -> torch.Tensor:
            return _leads(logits_NTV[:, -len(target) :], wanted_T).amin(dim=1)

        for chosen, leads in self._inner.passed(whole, exact=exact, read=read, last=self._last(len(target))):
            found_N[chosen] = leads
        return found_N

    def mixed_leads(self, held: Sequence[tuple[Body, int]], soft_LH: torch.Tensor, target: Body) -> torch.Tensor:
        """The mean lead over a target's tokens, [N], after prompts with a phrase of embeddings in them, with a gradient by the phrase."""
        whole = [((*body, *self._after, *target[:-1]), place) for body, place in held]
        found: list[torch.Tensor] = [soft_LH] * len(held)
        for chosen, logits_NTV in self._inner.mixed(whole, soft_LH, last=self._last(len(target))):
            for i, lead in zip(chosen, _leads(logits_NTV[:, -len(target) :], torch.tensor(target)).mean(dim=1), strict=True):
                found[i] = lead
        return torch.stack(found)


class Goal:
    """Prompts as they are answered with a target, or with anything else, by a model that writes."""

    several = False

    def __init__(self, writer: Writer, target: Body) -> None:
        self.writer, self.target = writer, target
        self.labels = (OTHER, writer.write(target))

    @property
    def digest(self) -> str:
        """Of every weight, and of the target."""
        return digest_json([self.writer.digest, list(self.target)])

    @property
    def rows(self) -> np.ndarray | None:
        """The embedding of each token."""
        return self.writer.rows

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Tokens that may stand in a trigger: none of the target, which a model may write because it has just read it."""
        own = self.writer.vocabulary
        usable = own.usable.copy()
        usable[list(self.target)] = False
        return replace(own, usable=usable)

    def encode(self, texts: Sequence[Text]) -> list[Body]:
        """Tokens of each prompt."""
        return self.writer.encode(texts)

    def write(self, tokens: Sequence[int]) -> str:
        """Tokens as a person would type them."""
        return self.writer.write(tokens)

    def scores(self, bodies: Sequence[Body], *, exact: bool = False) -> np.ndarray:
        """0 and the lead of the target, [N, 2]."""
        leads_N = self.writer.leads(bodies, self.target, exact=exact)
        return np.stack([np.zeros_like(leads_N), leads_N], axis=1)

    def mixed_scores(self, held: Sequence[tuple[Body, int]], soft_LH: torch.Tensor) -> torch.Tensor:
        """0 and the mean lead, which has a slope for all of the target's tokens at once."""
        leads_N = self.writer.mixed_leads(held, soft_LH, self.target)
        return torch.stack([torch.zeros_like(leads_N), leads_N], dim=1)


def _leads(logits_NTV: torch.Tensor, target_T: torch.Tensor) -> torch.Tensor:
    wanted_T = target_T.to(logits_NTV.device)
    own_NT1 = logits_NTV.gather(2, wanted_T[None, :, None].expand(len(logits_NTV), -1, 1))
    others_NTV = logits_NTV.scatter(2, wanted_T[None, :, None].expand(len(logits_NTV), -1, 1), float("-inf"))
    return own_NT1[..., 0] - others_NTV.amax(dim=2)


def _template(tokens: Any) -> tuple[Body, Body]:
    """What the chat template puts before a user's words and behind them, up to where the answer begins."""
    shown = tokens.apply_chat_template([{"role": "user", "content": _SAMPLE}], tokenize=False, add_generation_prompt=True)
    before, _, after = str(shown).partition(_SAMPLE)
    return tuple(tuple(tokens(each, add_special_tokens=False)["input_ids"]) for each in (before, after))  # type: ignore[return-value]
