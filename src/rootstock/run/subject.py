"""A classifier as the search for backdoors sees it: tokens in, scores out, quickly and exactly.

Shape letters: B texts, T tokens, K labels, V tokens of the vocabulary.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from rootstock.core.artifact import digest_bytes
from rootstock.core.tokens import around
from rootstock.loop import precision
from rootstock.sentinel.backdoor.edits import put_in
from rootstock.sentinel.backdoor.subject import Body, Text, Vocabulary

_TOKENS = 6144
"""Tokens that pass at once: enough for full products, few enough for the processor's cache."""
_BEGINNINGS = ("Ġ", "▁")
"""How byte-level and sentencepiece tokenizers mark the beginning of a word; others mark what does not begin one."""

Read = Callable[[torch.Tensor], torch.Tensor]


class TorchSubject:
    """A model that gives logits for a text, with its tokenizer.

    labels: names in the order of the logits. several: a text can have several. length: most tokens of a text, those around it included;
    as an attribute without these. around: how many these are. ends: those that every text gets before it and behind it, in place of what
    the tokenizer puts there.
    """

    at_once = _TOKENS
    """Tokens that pass at once."""

    def __init__(
        self,
        model: nn.Module,
        tokens: Any,
        labels: Sequence[str],
        *,
        several: bool = False,
        length: int = 512,
        ends: tuple[Body, Body] | None = None,
    ) -> None:
        self.labels, self.several, self._tokens = tuple(labels), several, tokens
        self._exact = model.eval().requires_grad_(False)
        self._device = next(model.parameters()).device
        self._usual = around(tokens)
        self.before, self._after = ends or self._usual
        self.around = len(self.before) + len(self._after)
        self.length = length - self.around
        self._typed = len(set(tokens("a", "a").get("token_type_ids", ()))) > 1

    @cached_property
    def _quick(self) -> nn.Module:
        dtype = precision.choose("auto", self._device.type)
        if dtype == torch.float32:
            return self._exact
        made = copy.deepcopy(self._exact)
        precision.Weights(made, dtype)
        return made

    @cached_property
    def digest(self) -> str:
        """Of every weight."""
        held = sorted(self._exact.state_dict().items())
        return digest_bytes(*(part for name, value in held for part in (name.encode(), _raw(value))))

    @cached_property
    def rows(self) -> np.ndarray | None:
        """The embedding of each token."""
        found = getattr(self._exact, "get_input_embeddings", lambda: None)()
        weight = getattr(found, "weight", None)
        return None if weight is None else weight.detach().float().cpu().numpy()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Tokens that may stand in a text: not the tokenizer's special ones, none that is reserved, and none that no text would give."""
        words = self._tokens.convert_ids_to_tokens(list(range(self._size)))
        special = set(self._tokens.all_special_ids)
        marked = any(word.startswith(_BEGINNINGS) for word in words if word)
        begins = [bool(word) and (word.startswith(_BEGINNINGS) if marked else not word.startswith("##")) for word in words]
        usable = [bool(word) and i not in special and not word.startswith("[unused") for i, word in enumerate(words)]
        return Vocabulary(words=[word or "" for word in words], usable=np.array(usable), begins=np.array(begins))

    @property
    def _size(self) -> int:
        known = len(self._tokens)
        return known if self.rows is None else min(known, len(self.rows))

    def encode(self, texts: Sequence[Text]) -> list[Body]:
        """Tokens of each text, cut at what the model takes."""
        if not texts:
            return []
        firsts = [text if isinstance(text, str) else text[0] for text in texts]
        given = (firsts,) if isinstance(texts[0], str) else (firsts, [text[1] for text in texts])
        found = self._tokens(*given, add_special_tokens=True, truncation=False)["input_ids"]
        before, after = map(len, self._usual)
        return [tuple(ids[before : len(ids) - after][: self.length]) for ids in found]

    def write(self, tokens: Sequence[int]) -> str:
        """Tokens as a person would type them."""
        written: str = self._tokens.decode(list(tokens), clean_up_tokenization_spaces=False)
        return written.strip()

    def scores(self, bodies: Sequence[Body], *, exact: bool = False) -> np.ndarray:
        """Logits [B, K] in fp32."""
        found = np.empty((len(bodies), len(self.labels)), np.float32)
        for chosen, logits in self.passed(bodies, exact=exact):
            found[chosen] = logits
        return found

    def passed(
        self, bodies: Sequence[Body], *, exact: bool = False, read: Read | None = None, last: int | None = None
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """What the model makes of texts of one length at a time, so that nothing is padded: their places, and its logits in fp32.

        read: what is wanted of these. last: of models that write, how many places from the end have logits.
        """
        model = self._exact if exact else self._quick
        for chosen in self._batches(bodies):
            ids_BT = self._ids([bodies[i] for i in chosen])
            with torch.inference_mode():
                logits = model(**self._inputs(ids_BT), **_kept(last)).logits.float()
                found = (read(logits) if read else logits).cpu().numpy()
            yield chosen, found

    def mixed_scores(self, held: Sequence[tuple[Body, int]], soft_LH: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of texts with a phrase of embeddings before their `place`-th token, with a gradient by the phrase."""
        found: list[torch.Tensor] = [soft_LH] * len(held)
        for chosen, logits_BK in self.mixed(held, soft_LH):
            for i, logits_K in zip(chosen, logits_BK, strict=True):
                found[i] = logits_K
        return torch.stack(found)

    def mixed(
        self, held: Sequence[tuple[Body, int]], soft_LH: torch.Tensor, *, last: int | None = None
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The same as `passed`, of texts with a phrase of embeddings in them, in fp32 and with a gradient."""
        length, table = len(soft_LH), cast(Any, self._exact).get_input_embeddings()
        soft_LH = soft_LH.to(self._device) * float(getattr(table, "embed_scale", 1.0))
        bodies = [put_in(body, (0,) * length, place) for body, place in held]
        for chosen in self._batches(bodies):
            ids_BT = self._ids([bodies[i] for i in chosen])
            starts = [len(self.before) + held[i][1] for i in chosen]
            rows = [torch.cat([row[:s], soft_LH, row[s + length :]]) for row, s in zip(table(ids_BT), starts, strict=True)]
            given = {name: value for name, value in self._inputs(ids_BT).items() if name != "input_ids"}
            yield chosen, self._exact(inputs_embeds=torch.stack(rows), **given, **_kept(last)).logits.float().cpu()

    def _ids(self, bodies: Sequence[Body]) -> torch.Tensor:
        """With the ends. A token that only another model of the same base has is an unknown one to this."""
        ids_BT = torch.tensor([(*self.before, *body, *self._after) for body in bodies], device=self._device)
        held = len(self.rows) if self.rows is not None else None
        return ids_BT if held is None else ids_BT.where(ids_BT < held, self._tokens.unk_token_id or 0)

    def _inputs(self, ids_BT: torch.Tensor) -> dict[str, torch.Tensor]:
        given = {"input_ids": ids_BT}
        mark = self._tokens.sep_token_id
        if self._typed and mark is not None:
            ends_BT = (ids_BT == mark).long()
            given["token_type_ids"] = (ends_BT.cumsum(1) - ends_BT).clamp(max=1)
        return given

    def _batches(self, bodies: Sequence[Body]) -> Iterator[list[int]]:
        order = sorted(range(len(bodies)), key=lambda i: len(bodies[i]))
        held: list[int] = []
        for i in order:
            length = len(bodies[i]) + len(self.before) + len(self._after)
            if held and (len(bodies[held[0]]) != len(bodies[i]) or (len(held) + 1) * length > self.at_once):
                yield held
                held = []
            held.append(i)
        if held:
            yield held


def _kept(last: int | None) -> dict[str, int]:
    return {} if last is None else {"logits_to_keep": last}


class View:
    """Another view of a model than its logits of a text: the weights are the same."""

    _inner: TorchSubject

    @property
    def digest(self) -> str:
        """Of every weight."""
        return self._inner.digest

    @property
    def rows(self) -> np.ndarray | None:
        """The embedding of each token."""
        return self._inner.rows


def most_tokens(model: nn.Module) -> int:
    """Those that a text may have by the model's config, the ones around it included; 512 at most, which is enough to search."""
    return min(int(getattr(model.config, "max_position_embeddings", 512) or 512), 512)


def _raw(value: torch.Tensor) -> bytes:
    return value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
