"""Write a text for a text: translations, summaries, corrections.

Prefer text-generation where the base only writes on (GPT's and Llama's kind); prefer text-classification where few answers are possible.
Needs a base with encoder and decoder, and a column of sources and one of targets: source and target, document and summary, or names of
languages such as en and de, from the first to the second. Two files with a line each for the other, from English to German:
`rootstock adapt "train.en.gz+train.de.gz"`.
Targets are written greedily or with beams; BLEU and chrF are sacrebleu's (Post 2018, https://arxiv.org/abs/1804.08771), ROUGE is
rouge-score's (Lin 2004, https://aclanthology.org/W04-1013). Raffel et al. 2019, https://arxiv.org/abs/1910.10683

Shape letters: N rows, B rows in a batch, S source tokens, T target tokens.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import nn

from rootstock.core import tokens
from rootstock.core.errors import DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, TEXT, Columns, Encoded, Ragged, boxed, column, spell
from rootstock.core.seed import Draw
from rootstock.core.tally import Sums, Tally, tally
from rootstock.core.task import Batch, ByToken, Kind, Loss
from rootstock.tasks import _generation, _pieces, _seq2seq, _taught, _texts, _vocabulary

_LANGUAGES = frozenset(("en", "de", "fr", "es", "it", "pt", "nl", "cs", "pl", "ro", "sv", "fi", "tr", "ru", "ar", "hi", "zh", "ja", "ko"))
_PAIRS = (("source", "target"), ("src", "tgt"), ("document", "summary"), ("article", "highlights"), ("dialogue", "summary"))
_SHORT = 0.5
"""Targets of less than this share of their sources' letters are summaries."""


class TextToText(ByToken):
    """The encoder reads the source, the decoder writes the target."""

    called: ClassVar[Mapping[str, tuple[str | frozenset[str], ...]]] = {
        "text": (*dict.fromkeys(source for source, _ in _PAIRS), "input", _LANGUAGES),
        "label": (*dict.fromkeys(target for _, target in _PAIRS), "translation", "output", _LANGUAGES),
    }
    writes: ClassVar[bool] = True

    figures: Literal["auto", "translation", "summarisation", "match"] = "auto"
    """What is measured beside exact matches: translation is BLEU and chrF, summarisation is ROUGE-1, -2 and -L, match nothing more.

    auto: summarisation where training targets are less than half as long as their sources, else translation.
    """
    prefix: str = ""
    """Put before every source, such as "translate English to German: ": T5 was taught to tell tasks by it."""
    beams: int = Field(default=1, ge=1)
    """Beginnings that are kept while a target is written. 1 takes the likeliest token each time; 4 often gains a BLEU point, at four times
    the work."""
    max_tokens: int = Field(default=128, ge=1)
    """Most tokens that are written for a source."""
    temperature: float = Field(default=0.0, ge=0, exclude=True)
    """Above 0 what is written is drawn: for texts to learn from, never for answers."""
    tokenize: Literal["13a", "intl", "char", "zh"] = "13a"
    """How BLEU parts texts in words: 13a suits languages with blanks, zh Chinese, char others without blanks."""

    @property
    def kind(self) -> Kind:
        """A text."""
        return "text"

    @property
    def headline(self) -> tuple[str, ...]:
        """By what is asked for."""
        return _texts.HEADLINES[self._measured]

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The loss: targets are written only at the end."""
        return ("loss",)

    @property
    def signatures(self) -> dict[str, str]:
        """Of BLEU, chrF or ROUGE."""
        return _texts.signatures(self._measured, self.tokenize)

    @property
    def _measured(self) -> _texts.Wanted:
        return "translation" if self.figures == "auto" else self.figures

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Nothing: a text beside a text may mean much else."""
        return 0.0

    @classmethod
    def arranged(cls, table: pa.Table) -> pa.Table | None:
        """Two columns that are called source and target, or the like, or by two languages, from the first to the second; as they are."""
        names = [name for name in table.column_names if _generation.strings(table.column(name))]
        pair = next((each for each in (*_PAIRS, tuple(name for name in names if name in _LANGUAGES)[:2]) if {*each} <= {*names}), ())
        if len(pair) < 2 or {"text", "label"} & set(table.column_names):
            return None
        return table if 2 * len(table.column(pair[1]).unique()) > len(table) else None  # few different ones are classes

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Settle what is measured; DataError where no row is left to learn from."""
        if not len(train):
            raise DataError("there is no training row", wanted="a source and a target")
        if self.figures != "auto":
            return self
        sources, targets = (sum(len(spell(each)) for each in column(train, name)) for name in (TEXT, LABEL))
        return self.model_copy(update={"figures": "summarisation" if targets < _SHORT * sources else "translation"})

    def head(self) -> Head:
        """A sequence-to-sequence language model."""
        return Head(auto="AutoModelForSeq2SeqLM")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Ids of sources and, where rows have them, of targets, each cut at `length`. A row's length is that of its longer side."""
        ids = _ids(tokenizer, [self.prefix + text for text in column(rows, TEXT)], length)
        if LABEL not in rows.column_names:
            return Encoded({"input_ids": ids}, {}, ids.lengths)
        targets = _ids(tokenizer, self.truth(rows), length, target=True)
        return Encoded({"input_ids": ids, "targets": targets}, {}, np.maximum(ids.lengths, targets.lengths))

    def answers(self, rows: pa.Table) -> np.ndarray:
        """The targets [N]."""
        return boxed(self.truth(rows))

    def truth(self, rows: pa.Table) -> list[Any]:
        """The targets."""
        return [spell(each) for each in column(rows, LABEL)]

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Source ids and mask [B, S], as labels target ids [B, T], -100 behind them, and the ids at which a text ends."""
        ids_BS, mask_BS = _pieces.padded(encoded, rows, tokenizer)
        held = {"input_ids": ids_BS, "attention_mask": mask_BS, _generation.ENDS: np.array([_seq2seq.end_token(tokenizer)])}
        if "targets" in encoded.tokens:
            held["labels"] = encoded.tokens["targets"].padded(rows, _vocabulary.NOT_ASKED)
        return _pieces.tensors(**held)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy in nats of the target's tokens, each after the true ones before it."""
        return _seq2seq.loss(model, batch)

    def said(self, model: nn.Module, batch: Batch, *, top: int, temperature: float) -> Columns:
        """The likeliest tokens at each place of the target, after the true ones before it."""
        return _taught.said(model, _seq2seq.inputs(model, batch), batch["labels"], top=top, temperature=temperature)

    def heard(self, model: nn.Module, batch: Batch, *, weight: float, temperature: float) -> Loss:
        """By the target's tokens, and by what the teacher held likely."""
        return _taught.loss(model, _seq2seq.inputs(model, batch), batch, None, weight=weight, temperature=temperature)

    def glance(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, tokens and hits of each row."""
        return _seq2seq.decode(model, batch)

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """The ids that are written for each source, and of labelled rows loss, tokens and hits."""
        found = _seq2seq.decode(model, batch) if "labels" in batch else {}
        made = _generation.written(model, batch, beams=self.beams, most=self.max_tokens, temperature=self.temperature)
        return {**found, "written": boxed(made)}

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """The written texts as scores [N]."""
        said = {"scores": _generation.texts(columns["written"], tokenizer)} if "written" in columns else {}
        return {**_generation.loss_of(columns), **said}

    def judged(self, columns: Columns) -> Columns:
        """Counts of n-grams or ROUGE of each row, exact matches, and what the loss is made of."""
        held = _generation.loss_of(columns)
        if "scores" not in columns:
            return held
        return {**held, **_texts.counted(columns["scores"], columns["answers"], self._measured, self.tokenize)}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """What is asked for, exact matches, and the loss in nats a token."""
        held = self._figures(columns)
        made = self._tally(columns, held if names is None else [name for name in held if name in names])
        return made.whole() if made else {}

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return self._tally(columns, names)

    def _tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        rows = len(next(iter(columns.values()), ()))
        return tally(names, self._figures(columns), lambda counts_RN: Sums(columns, counts_RN), rows=rows)

    def _figures(self, columns: Columns) -> dict[str, Callable[[Sums], np.ndarray]]:
        loss = {"loss": lambda sums: sums.share("loss", "count")} if "loss" in columns else {}
        return {**_texts.figures(columns, self.tokenize), **loss}

    def details(self, columns: Columns) -> dict[str, Any]:
        """Nothing to draw."""
        return {}

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """The written text."""
        return {"predicted": columns["scores"].tolist()}

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """The loss of each target token."""
        return _generation.compared(model, _seq2seq.inputs(model, batch), batch["labels"])

    def check(self, model: nn.Module) -> None:
        """Refuse a model without encoder and decoder."""
        _seq2seq.check(model)


def _ids(tokenizer: Any, texts: list[str], length: int | None, *, target: bool = False) -> Ragged:
    """Ids as the tokenizer wraps a text of its own, or one to be written, with an end in any case."""
    made = tokens.tokenised(tokenizer, texts, length=length, target=target)["input_ids"]
    if target:
        end = _seq2seq.end_token(tokenizer)
        made = [ids if end in ids[-2:] else [*ids[: length - 1 if length else None], end] for ids in made]
    return Ragged.of(made)
