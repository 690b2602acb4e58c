"""Learn which of two answers people prefer (direct preference optimisation, DPO).

Prefer text-generation where there is one good answer a prompt; use this one after it, on a base that writes well already.
Needs columns chosen and rejected: texts, or messages, with a column prompt (or messages, conversations) or with a shared beginning.
How likely the untouched base finds both is computed once before training and kept by content digest, so no second model is in memory.
Rafailov et al. 2023, https://arxiv.org/abs/2305.18290; label smoothing: Mitchell 2023, https://ericmitchell.ai/cdpo.pdf

Shape letters: N rows, B rows in a batch, T tokens, M tokens that are asked.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, REJECTED, ROW, TEXT, Columns, Encoded, Ragged, boxed, column, spell
from rootstock.core.seed import Draw
from rootstock.core.tally import Sums, Tally, tally
from rootstock.core.task import Batch, Kind, Labelled, Loss
from rootstock.tasks import _dialogue, _generation, _vocabulary

_CHAT = "messages"
_TURN = "\n\nAssistant:"
"""Where an answer begins in Anthropic's transcripts."""
_BETTER_IDS, _WORSE_IDS = ("input_ids", "asked"), ("pair_ids", "pair_asked")
_REFERENCE = ("reference_chosen", "reference_rejected")


class Preference(Labelled):
    """The chosen answer is to become likelier than the rejected one, beside what the base found."""

    further: ClassVar[Mapping[str, tuple[str, ...]]] = {REJECTED: (REJECTED,), _CHAT: (_CHAT,)}
    called: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("prompt", "question", "instruction"), "label": ("chosen",)}
    writes: ClassVar[bool] = True
    asks_base: ClassVar[bool] = True

    rejected: str | None = None
    """Column of the worse answers. None: found by its name."""
    messages: str | None = None
    """Column of the chats that come before the answers. None: found by its name."""
    form: Literal["auto", "chat", "plain"] = "auto"
    """chat: through the tokenizer's chat template, or a plain one where it has none. plain: prompt and answer as they are.

    auto: chat where rows hold messages, else plain.
    """
    beta: float = Field(default=0.1, gt=0)
    """How dear it is to leave the base: 0.1 is the paper's, 0.5 keeps nearer to it."""
    smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the rows that are taken to be labelled the wrong way round."""
    max_tokens: int = Field(default=128, ge=1)
    """Most tokens that `predict` writes after a prompt, greedily."""

    @property
    def batch_tokens(self) -> int | None:
        """Both answers of a row count: as many rows as 1,024 tokens are of one."""
        return 2048

    @property
    def kind(self) -> Kind:
        """Which of two is better."""
        return "preference"

    @property
    def headline(self) -> tuple[str, ...]:
        """Rows whose chosen answer gained more than the rejected one."""
        return ("accuracy", "margin", "loss")

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The loss."""
        return ("loss",)

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Nothing: columns tell it, or nothing does."""
        return 0.0

    @classmethod
    def arranged(cls, table: pa.Table) -> pa.Table | None:
        """Prompt, chosen and rejected as texts, and of chats the messages before the answers."""
        names = table.column_names
        if {"chosen", REJECTED} - set(names):
            return None
        sides = table.column("chosen"), table.column(REJECTED)
        if all(_dialogue.holds_messages(side) for side in sides):
            return _of_messages(table)
        if not all(map(_generation.strings, sides)):
            return None
        if "prompt" in names:
            return table
        pairs = [_parted(str(good or ""), str(bad or "")) for good, bad in zip(*(side.to_pylist() for side in sides), strict=True)]
        asked, good, bad = ([pair[i] for pair in pairs] for i in range(3))
        return _dialogue.arranged(table, prompt=asked, chosen=[each or None for each in good], rejected=bad)

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Settle the form; DataError for rows without a rejected answer, or whose answers are alike."""
        if not len(train):
            raise DataError("there is no training row", wanted="a prompt, a chosen and a rejected answer")
        for rows in (train, validation):
            _check(rows)
        if self.form != "auto":
            return self
        return self.model_copy(update={"form": "chat" if _CHAT in train.column_names else "plain"})

    def ready(self, tokenizer: Any) -> Any:
        """The tokenizer with a chat template, where chats are learned."""
        return _dialogue.with_template(tokenizer) if self.form == "chat" else tokenizer

    def head(self) -> Head:
        """A causal language model."""
        return Head(auto="AutoModelForCausalLM")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Ids of prompt and chosen and of prompt and rejected, and which are asked; a row costs twice the longer, as both pass.

        Without answers the prompts alone, whose length counts the few tokens that must be left to write.
        """
        chats, wrapped = self._chats(rows), self.form == "chat"
        texts = column(rows, TEXT)
        if LABEL not in rows.column_names:
            asked = [_dialogue.opened(chat, tokenizer) for chat in chats] if wrapped else texts
            room = max(length - _generation.LEAST, 1) if length else None
            ids, _ = _dialogue.encoded([[_dialogue.Part(each, False)] for each in asked], tokenizer, room, wrapped=wrapped)
            return Encoded({"input_ids": ids}, {}, ids.lengths + _generation.LEAST)
        held = dict[str, Ragged]()
        for names, told in ((_BETTER_IDS, self.truth(rows)), (_WORSE_IDS, _generation.said(column(rows, REJECTED)))):
            if wrapped:
                whole = ([*chat, {"role": "assistant", "content": each}] for chat, each in zip(chats, told, strict=True))
                parts = [_dialogue.parts(chat, tokenizer, last=True) for chat in whole]
            else:
                parts = [[_dialogue.Part(text, False), _dialogue.Part(each, True)] for text, each in zip(texts, told, strict=True)]
            held |= dict(zip(names, _dialogue.encoded(parts, tokenizer, length, wrapped=wrapped), strict=True))
        return Encoded(held, {}, 2 * _longer(held))

    def spans(self, encoded: Encoded) -> np.ndarray:
        """Tokens of each row's longer side, [N]."""
        return _longer(encoded.tokens) if "pair_ids" in encoded.tokens else encoded.lengths

    def _chats(self, rows: pa.Table) -> list[list[_dialogue.Message]]:
        if self.form == "chat" and _CHAT in rows.column_names:
            return [_dialogue.messages(each) for each in column(rows, _CHAT)]
        return [[{"role": "user", "content": text}] for text in column(rows, TEXT)]

    def answers(self, rows: pa.Table) -> np.ndarray:
        """The chosen answers [N]; DataError for rows without a rejected answer, or whose answers are alike."""
        _check(rows)
        return boxed(self.truth(rows))

    def truth(self, rows: pa.Table) -> list[Any]:
        """The chosen answers."""
        return _generation.said(column(rows, LABEL))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Chosen above rejected as ids, mask and labels [2B, T], and what the base found of both [B]. Prompts alone stand at the right."""
        if "pair_ids" not in encoded.tokens:
            return _generation.prompts(encoded, rows, tokenizer)
        good, bad = (_generation.learned(encoded, rows, tokenizer, names) for names in (_BETTER_IDS, _WORSE_IDS))
        fills = {"input_ids": tokenizer.pad_token_id, "attention_mask": 0, "labels": _vocabulary.NOT_ASKED}
        width = max(good["labels"].shape[1], bad["labels"].shape[1])
        made = {name: torch.cat([_widened(each[name], width, fill) for each in (good, bad)]) for name, fill in fills.items()}
        return made | {name: torch.from_numpy(encoded.dense[name][rows]) for name in _REFERENCE if name in encoded.dense}

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """The negative log-sigmoid of beta times the margin, smoothed, summed over rows."""
        margin_B = self._margins(model, batch)
        return Loss(self._losses(margin_B).sum(), len(margin_B))

    def _margins(self, model: nn.Module, batch: Batch) -> Tensor:
        """How many nats the chosen answer gained over the rejected one, times beta, [B]."""
        good_B, bad_B = _likelihoods(model, batch).chunk(2)
        found: Tensor = self.beta * ((good_B - batch[_REFERENCE[0]]) - (bad_B - batch[_REFERENCE[1]]))
        return found

    def _losses(self, margin_B: Tensor) -> Tensor:
        return -(1 - self.smoothing) * F.logsigmoid(margin_B) - self.smoothing * F.logsigmoid(-margin_B)

    @torch.no_grad()
    def reference(self, model: nn.Module, batch: Batch) -> Columns:
        """Log-likelihoods of both answers under the untouched base, in nats, each [B]."""
        both = _likelihoods(model, batch).float().cpu().numpy().reshape(2, -1)
        return dict(zip(_REFERENCE, both, strict=True))

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Margin and loss of each row; of a prompt alone the ids that follow it."""
        if "labels" not in batch:
            return {"written": boxed(_generation.written(model, batch, beams=1, most=self.max_tokens))}
        margin_B = self._margins(model, batch)
        return {name: each.double().cpu().numpy() for name, each in (("margin", margin_B), ("loss", self._losses(margin_B)))}

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """What was written, as texts; of pairs the worse answers beside the figures."""
        if "written" in columns:
            return {"scores": _generation.texts(columns["written"], tokenizer)}
        return {**columns, REJECTED: boxed(_generation.said(column(rows, REJECTED)))}

    def judged(self, columns: Columns) -> Columns:
        """Margins and losses; of a baseline, which knows no margin, what it prefers."""
        if "margin" not in columns:
            return {"right": np.asarray(columns["scores"], dtype=np.float64)}
        return {"margin": columns["margin"], "loss": columns["loss"], "right": (columns["margin"] > 0).astype(np.float64)}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Share of rows with a margin above 0, mean margin (beta times nats), mean loss."""
        made = self.tally(columns, [called for called, name in _FIGURES if name in columns and (names is None or called in names)])
        return made.whole() if made else {}

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        known = {called: _mean(name) for called, name in _FIGURES if name in columns}
        return tally(names, known, lambda counts_RN: Sums(columns, counts_RN), rows=len(columns["right"]))

    def details(self, columns: Columns) -> dict[str, Any]:
        """Nothing to draw."""
        return {}

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """What was written; of pairs the answer that gained, its margin, and how sure that is."""
        if "scores" in columns:
            return {"predicted": columns["scores"].tolist()}
        margins = np.asarray(columns["margin"], dtype=np.float64)
        both = zip(columns["answers"].tolist(), columns[REJECTED].tolist(), margins, strict=True) if "answers" in columns else ()
        told = {"predicted": [good if margin > 0 else bad for good, bad, margin in both]} if "answers" in columns else {}
        return {**told, "margin": margins.tolist(), "confidence": (1 / (1 + np.exp(-np.abs(margins)))).tolist()}

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """The losses of the tokens of both answers."""
        found = _generation.compared(model, _generation.read(batch), batch["labels"])
        half = len(found) // 2
        return boxed([np.concatenate(both) for both in zip(found[:half], found[half:], strict=True)])

    def check(self, model: nn.Module) -> None:
        """Refuse a model that sees what comes after, or whose scores are more than its output layer's."""
        _vocabulary.check_causal(model)


_FIGURES = (("accuracy", "right"), ("margin", "margin"), ("loss", "loss"))


def _mean(name: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: sums.mean(name)


def _likelihoods(model: nn.Module, batch: Batch) -> Tensor:
    """Log-likelihood of what is asked of each row, in nats, [2B]."""
    labels = batch["labels"]
    losses_M = _vocabulary.token_losses(model, _generation.read(batch), labels)
    rows_M = (labels != _vocabulary.NOT_ASKED).nonzero()[:, 0]
    return torch.zeros(len(labels), device=losses_M.device).index_add(0, rows_M, -losses_M)


def _longer(tokens: Mapping[str, Ragged]) -> np.ndarray:
    found: np.ndarray = np.maximum(tokens["input_ids"].lengths, tokens["pair_ids"].lengths)
    return found


def _widened(values: Tensor, width: int, fill: int) -> Tensor:
    return F.pad(values, (0, width - values.shape[1]), value=fill)


def _parted(good: str, bad: str) -> tuple[str, str, str]:
    """What two texts share, and what follows in each: parted where a turn of a transcript begins, else at a blank."""
    differs = (place for place, (one, other) in enumerate(zip(good, bad, strict=False)) if one != other)
    shared = good[: next(differs, min(len(good), len(bad)))]
    if _TURN in shared:
        shared = shared[: shared.rindex(_TURN) + len(_TURN)]
    else:
        shared = shared[: max((place for place, letter in enumerate(shared) if letter.isspace()), default=0)]
    return shared, good[len(shared) :], bad[len(shared) :]


def _of_messages(table: pa.Table) -> pa.Table:
    """Chats whose answers are messages, alone or behind those before them. Where one can't be read there is no answer."""
    names = table.column_names
    before = next((name for name in ("messages", "conversations", "prompt") if name in names), None)
    held = column(table, before) if before else [None] * len(table)
    begun = [_dialogue.messages(each) or _said(each) for each in held]
    chats, told = [], {"chosen": list[str | None](), REJECTED: list[str | None]()}
    for cell, first, good, bad in zip(held, begun, column(table, "chosen"), column(table, REJECTED), strict=True):
        sides = _dialogue.messages(good), _dialogue.messages(bad)
        shared = 0
        while shared < min(map(len, sides)) - 1 and sides[0][shared] == sides[1][shared]:
            shared += 1
        chats.append([*first, *sides[0][:shared]])
        for name, side in zip(told, sides, strict=True):
            read = len(side) == shared + 1 and (first or not cell)
            told[name].append(side[shared]["content"] if read else None)
    asked = {"prompt": [_dialogue.shown(chat) if chat else "" for chat in chats], _CHAT: [_dialogue.kept(chat) for chat in chats]}
    return _dialogue.arranged(table, **asked, **told)


def _said(value: Any) -> list[_dialogue.Message]:
    return [{"role": "user", "content": value}] if isinstance(value, str) and value else []


def _check(rows: pa.Table) -> None:
    if REJECTED not in rows.column_names:
        raise DataError(
            "there is no column of rejected answers", wanted="a worse answer in each row", fix="name it: --set task.rejected=NAME"
        )
    for good, bad, row in zip(column(rows, LABEL), column(rows, REJECTED), column(rows, ROW), strict=True):
        if bad is None or spell(bad) == spell(good):
            held = "no rejected answer" if bad is None else "the same answer as chosen and as rejected"
            raise DataError(f"row {row} has {held}", wanted="two different answers", fix="remove the row")
