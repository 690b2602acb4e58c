"""Go on from a prompt as the rows do: instructions, chats, completions (supervised fine-tuning).

Prefer text-to-text for bases with an encoder; prefer causal-lm where whole documents are to be learned, without a prompt.
Needs a base that writes from left to right, and one of: columns prompt and completion; instruction, input and output (alpaca); messages
(role and content) or conversations (from and value). Prompts and completions are put together as they are, with an end behind. Chats go
through the tokenizer's own chat template; one that has none gets a plain one, saved with it. Only what is to be written counts in the loss.

Shape letters: N rows, B rows in a batch, T tokens.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import nn

from rootstock.core.errors import DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, TEXT, Columns, Encoded, boxed, column
from rootstock.core.seed import Draw
from rootstock.core.tally import Sums, Tally, tally
from rootstock.core.task import Batch, ByToken, Kind, Loss
from rootstock.tasks import _dialogue, _generation, _taught, _vocabulary

MESSAGES = "messages"


class TextGeneration(ByToken):
    """Cross-entropy of the tokens that are to be written, each after the true ones before it."""

    further: ClassVar[Mapping[str, tuple[str, ...]]] = {MESSAGES: (MESSAGES,)}
    called: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("prompt", "question", "query", "instruction"),
        "label": ("completion", "response", "answer", "output"),
    }
    writes: ClassVar[bool] = True

    messages: str | None = None
    """Column of whole chats. None: found by its name."""
    form: Literal["auto", "chat", "plain"] = "auto"
    """chat: through the chat template, a prompt without messages as a user's. plain: prompt and completion as they are.

    auto: chat where rows are chats or instructions, else plain.
    """
    answers_asked: Literal["all", "last"] = "all"
    """Which answers of a chat are learned."""
    packing: bool = False
    """Several rows in a line as long as the longest row, each with its own positions and blind for the others.

    Then a batch has rows of any lengths. Without, it has rows of like length, which leaves little padding as well
    and asks no attention over whole lines.
    """
    max_tokens: int = Field(default=128, ge=1)
    """Most tokens that `predict` writes after a prompt, greedily."""
    temperature: float = Field(default=0.0, ge=0, exclude=True)
    """Above 0 what is written is drawn: for texts to learn from, never for answers."""

    @property
    def kind(self) -> Kind:
        """How a text goes on."""
        return "completion"

    @property
    def packs(self) -> bool:
        """As told."""
        return self.packing

    @property
    def headline(self) -> tuple[str, ...]:
        """The loss first: a text has many good ways to go on."""
        return ("loss", "perplexity", "token_accuracy")

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
        """Prompt and completion as they are; chats and instructions as these and messages. A chat that can't be read has no completion."""
        names = table.column_names
        if not {"prompt", "completion"} - set(names) and _generation.strings(table.column("prompt")):
            return table
        chats = _chats(table)
        if chats is None:
            return None
        ends = [bool(chat) and chat[-1]["role"] == "assistant" for chat in chats]
        halves = [(chat[:-1], chat[-1]["content"]) if end else (chat, None) for chat, end in zip(chats, ends, strict=True)]
        asked, told = [_dialogue.shown(before) for before, _ in halves], [answer for _, answer in halves]
        return _dialogue.arranged(table, prompt=asked, completion=told, messages=[_dialogue.kept(chat) for chat in chats])

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Settle the form; DataError where no row is left to learn from."""
        if not len(train):
            raise DataError("there is no training row", wanted="a prompt and a completion")
        if self.form != "auto":
            return self
        return self.model_copy(update={"form": "chat" if MESSAGES in train.column_names else "plain"})

    def ready(self, tokenizer: Any) -> Any:
        """The tokenizer with a chat template, where chats are learned."""
        return _dialogue.with_template(tokenizer) if self.form == "chat" else tokenizer

    def head(self) -> Head:
        """A causal language model."""
        return Head(auto="AutoModelForCausalLM")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Ids and which are asked, where rows have completions; else prompts, whose length counts the few tokens to be left for writing.

        What is longer than `length` loses the beginning of its prompt, then the end of what is asked.
        """
        chat = self.form == "chat"
        if LABEL in rows.column_names:
            made = [self._learned(*row, tokenizer) for row in self._each(rows)]
            ids, asked = _dialogue.encoded(made, tokenizer, length, wrapped=chat)
            return Encoded({"input_ids": ids, "asked": asked}, {}, ids.lengths)
        prompts = [[_dialogue.Part(self._prompt(*row, tokenizer), False)] for row in self._each(rows)]
        room = max(length - _generation.LEAST, 1) if length else None
        ids, _ = _dialogue.encoded(prompts, tokenizer, room, wrapped=chat)
        return Encoded({"input_ids": ids}, {}, ids.lengths + _generation.LEAST)

    def _each(self, rows: pa.Table) -> list[tuple[str, str, list[_dialogue.Message]]]:
        """Prompt, completion and messages of each row; of a chat whose rows have none, those that prompt and completion make."""
        texts = column(rows, TEXT)
        said = self.truth(rows) if LABEL in rows.column_names else [""] * len(rows)
        if MESSAGES in rows.column_names:
            chats = [_dialogue.messages(each) for each in column(rows, MESSAGES)]
        else:
            chats = [
                [{"role": "user", "content": text}, {"role": "assistant", "content": told}] for text, told in zip(texts, said, strict=True)
            ]
        return list(zip(texts, said, chats, strict=True))

    def _learned(self, prompt: str, completion: str, chat: list[_dialogue.Message], tokenizer: Any) -> list[_dialogue.Part]:
        if self.form == "chat":
            return _dialogue.parts(chat, tokenizer, last=self.answers_asked == "last")
        return [_dialogue.Part(prompt, False), _dialogue.Part(completion, True)]

    def _prompt(self, prompt: str, _: str, chat: list[_dialogue.Message], tokenizer: Any) -> str:
        if self.form != "chat":
            return prompt
        return _dialogue.opened(chat[:-1] if chat and chat[-1]["role"] == "assistant" else chat, tokenizer)

    def answers(self, rows: pa.Table) -> np.ndarray:
        """The completions [N]."""
        return boxed(self.truth(rows))

    def truth(self, rows: pa.Table) -> list[Any]:
        """The completions; of a chat the last answer."""
        return _generation.said(column(rows, LABEL))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids and mask [B, T], and as labels the next token where it is asked, -100 elsewhere. Prompts alone stand at the right.

        With packing rows lie in lines, with positions in the mask's place.
        """
        if "asked" in encoded.tokens and self.packing:
            return _generation.packed(encoded, rows, ("input_ids", "asked"))
        if "asked" in encoded.tokens:
            return _generation.learned(encoded, rows, tokenizer, ("input_ids", "asked"))
        return _generation.prompts(encoded, rows, tokenizer)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats, summed over the tokens that are asked."""
        return _vocabulary.language_loss(model, _generation.read(batch), batch["labels"])

    def said(self, model: nn.Module, batch: Batch, *, top: int, temperature: float) -> Columns:
        """The likeliest next tokens at each place that is asked."""
        return _taught.said(model, _generation.read(batch), batch["labels"], top=top, temperature=temperature)

    def heard(self, model: nn.Module, batch: Batch, *, weight: float, temperature: float) -> Loss:
        """By the tokens themselves, and by what the teacher held likely."""
        rows_BT = batch.get(_generation.ROW_OF)
        return _taught.loss(model, _generation.read(batch), batch, rows_BT, weight=weight, temperature=temperature)

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, tokens and hits of each row; of a prompt alone the ids that follow it."""
        if "labels" in batch:
            return _vocabulary.language_results(model, _generation.read(batch), batch["labels"], batch.get(_generation.ROW_OF))
        return {"written": boxed(_generation.written(model, batch, beams=1, most=self.max_tokens, temperature=self.temperature))}

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """What was written, as texts."""
        return {"scores": _generation.texts(columns["written"], tokenizer)} if "written" in columns else _generation.loss_of(columns)

    def judged(self, columns: Columns) -> Columns:
        """Loss, tokens and hits."""
        return _generation.loss_of(columns)

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Loss in nats a token, its exponential, and the share of tokens that were the likeliest."""
        made = self.tally(columns, [name for name in _FIGURES if names is None or name in names])
        return made.whole() if made else {}

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return tally(names, _FIGURES, lambda counts_RN: Sums(columns, counts_RN), rows=len(columns["count"]))

    def rivals(self, train: Encoded, validation: Encoded) -> Mapping[str, Columns]:
        """Each token by its share of what is asked in training."""
        return {"unigram": _generation.unigram(train, validation)}

    def details(self, columns: Columns) -> dict[str, Any]:
        """Nothing to draw."""
        return {}

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """What was written; of rows with a completion its loss in nats a token."""
        if "scores" in columns:
            return {"predicted": columns["scores"].tolist()}
        return {"nats_a_token": (columns["loss"] / np.maximum(columns["count"], 1)).tolist()}

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """The loss of each token that is asked."""
        return _generation.compared(model, _generation.read(batch), batch["labels"], batch.get(_generation.ROW_OF))

    def check(self, model: nn.Module) -> None:
        """Refuse a model that sees what comes after, or whose scores are more than its output layer's."""
        _vocabulary.check_causal(model)
        if self.packing:
            _generation.check_apart(model)


_FIGURES: Mapping[str, Callable[[Sums], np.ndarray]] = {
    "loss": lambda sums: sums.share("loss", "count"),
    "perplexity": lambda sums: np.exp(np.minimum(sums.share("loss", "count"), 700.0)),
    "token_accuracy": lambda sums: sums.share("hits", "count"),
}


def _chats(table: pa.Table) -> list[list[_dialogue.Message]] | None:
    """A conversation for each row; None where no column holds any."""
    names = table.column_names
    system = column(table, "system") if "system" in names else [None] * len(table)
    begun = [[{"role": "system", "content": each}] if each and isinstance(each, str) else [] for each in system]
    for name in (MESSAGES, "conversations"):
        if name in names and "chosen" not in names and _dialogue.holds_messages(table.column(name)):
            return [[*first, *_dialogue.messages(each)] for first, each in zip(begun, column(table, name), strict=True)]
    if {"prompt", "completion"} <= set(names) and all(_dialogue.holds_messages(table.column(name)) for name in ("prompt", "completion")):
        both = zip(begun, column(table, "prompt"), column(table, "completion"), strict=True)
        return [[*first, *_dialogue.joined(asked, told)] for first, asked, told in both]
    if {"instruction", "output"} <= set(names):
        more = column(table, "input") if "input" in names else [None] * len(table)
        rows = zip(begun, column(table, "instruction"), more, column(table, "output"), strict=True)
        return [[*first, *_instructed(asked, given, told)] for first, asked, given, told in rows]
    return None


def _instructed(asked: str | None, given: str | None, told: str | None) -> list[_dialogue.Message]:
    """Instruction and input, a blank line between, as a user's message; the output as the answer."""
    user = {"role": "user", "content": "\n\n".join(each for each in (asked, given) if each)}
    return [user] if told is None or not str(told).strip() else [user, {"role": "assistant", "content": str(told)}]
