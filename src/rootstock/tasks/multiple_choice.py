"""Choose the right one of several answers to a question, with a passage or without.

Prefer question-answering where the answer stands in a passage; prefer text-classification where every row has the same answers.
Needs a question (or a beginning), choices (a list a row, or columns such as ending0, ending1 …), and the right one: its number from 0 or 1,
its letter, or its text. The model reads what is asked with each choice by itself; a softmax over its scores decides.
Zellers et al. 2018, https://arxiv.org/abs/1808.05326

Shape letters: N rows, B rows in a batch, C choices, T tokens.
"""

import string
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rootstock.core import tokens
from rootstock.core.errors import DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import CHOICES, LABEL, PAIR, ROW, TEXT, Columns, Encoded, Ragged, boxed, column, spell
from rootstock.core.seed import Draw
from rootstock.core.tally import Tally
from rootstock.core.task import Batch, Kind
from rootstock.tasks import _losses, _scores
from rootstock.tasks._one_of import OneOf

_FIGURES = ("accuracy", "log_loss", "calibration_error")
_CUT_OFF = -1e30
"""Score of a choice that a row does not have: finite, so that no gradient becomes nan."""


class MultipleChoice(OneOf):
    """With a passage the model reads it and then question and choice; without one the question and then the choice."""

    further: ClassVar[Mapping[str, tuple[str, ...]]] = {CHOICES: ("choices", "options", "endings", "alternatives", "solutions", "sols")}
    called: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("question", "startphrase", "ctx", "query", "goal", "premise", "prompt", "sentence"),
        "text_pair": ("context", "passage", "article", "premise", "support"),
        "label": ("answer", "answerkey", "answeridx", "answerindex", "correct", "label", "gold", "goldlabel"),
    }

    choices: str | None = None
    """Column of the choices, a list of texts, or several columns with commas between. None: found by name."""
    counts_from: Literal["auto", "0", "1", "text"] = "auto"
    """The first choice's number where answers are numbers; text: a number is a choice's text.

    auto: text where all training answers are texts of their choices, 1 where none says 0 and one says as many as there are, else 0.
    """

    @property
    def kind(self) -> Kind:
        """One of a row's own choices."""
        return "choice"

    @property
    def headline(self) -> tuple[str, ...]:
        """The share of rows that are answered right."""
        return ("accuracy",)

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Nothing by its labels: `suits` knows such files by their columns."""
        return 0.0

    @classmethod
    def suits(cls, names: Collection[str]) -> bool:
        """Choices, by a list's name or by numbered columns, and a right one."""
        lists, stems = cls.further[CHOICES], [name.removesuffix("s") for name in cls.further[CHOICES]]
        held = any(name in names for name in lists) or any(
            {f"{stem}{first}", f"{stem}{second}"} <= {*names} for stem in stems for first, second in ("01", "12", "ab")
        )
        return held and any(name in names for name in cls.called["label"]) and any(name in names for name in cls.called["text"])

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Learn how answers are counted; a row with fewer than two choices, or with an answer that is none of them, is a DataError."""
        made = self if self.counts_from != "auto" else self.model_copy(update={"counts_from": _counting(train)})
        for rows in (train, validation):
            made.answers(rows)
        return made

    def names(self, label: Any) -> list[str]:
        """The answer as it is written."""
        return [spell(label)]

    def head(self) -> Head:
        """A score for each text."""
        return Head(auto="AutoModelForMultipleChoice", options={"num_labels": 1})

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Token ids of all choices one after the other, each cut at `length` from its longer text, with how many tokens each has."""
        firsts, seconds, counts = _both(rows)
        made = tokens.tokenised(tokenizer, firsts, seconds, length=length)
        sizes = Ragged(
            np.array([len(ids) for ids in made["input_ids"]], np.int32), np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        )
        held = {"input_ids": _by_row(made["input_ids"], sizes), "sizes": sizes}
        if "token_type_ids" in made:
            held["token_type_ids"] = _by_row(made["token_type_ids"], sizes)
        dense = {"labels": self.answers(rows)} if LABEL in rows.column_names else {}
        return Encoded(held, dense, sizes.lengths * _widest(sizes))

    def spans(self, encoded: Encoded) -> np.ndarray:
        """Tokens of each row's longest choice with what is asked, [N]."""
        return _widest(encoded.tokens["sizes"])

    def answers(self, rows: pa.Table) -> np.ndarray:
        """The right choice's place, 0-based [N]."""
        both = zip(column(rows, LABEL), _choices(rows), column(rows, ROW), strict=True)
        return np.array([self._place(label, choices, row) for label, choices, row in both], dtype=np.int64)

    def _place(self, label: Any, choices: list[str], row: int) -> int:
        name = spell(label)
        number = name.isdecimal() and self.counts_from != "text"
        if choices.count(name) == 1 and not number:
            return choices.index(name)
        place = int(name) - (self.counts_from == "1") if number else _letter(name)
        if 0 <= place < len(choices):
            return place
        numbers = "" if self.counts_from == "text" else f"a number from {self.counts_from}, "
        raise DataError(
            f"row {row} has the answer {name!r} and {len(choices)} choices",
            wanted=f"{numbers}a letter from A, or the text of one of them",
            fix="correct the row, or say with --set task.counts_from=0 or 1 how they are counted",
        )

    def truth(self, rows: pa.Table) -> list[Any]:
        """The right choice's text."""
        return [choices[place] for choices, place in zip(_choices(rows), self.answers(rows).tolist(), strict=True)]

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids and mask [B, C, T], and which choices a row has [B, C]; one that it lacks repeats its first."""
        sizes_BC, here_BC = encoded.tokens["sizes"].masked(rows, 0)
        sizes_BC = np.where(here_BC, sizes_BC, sizes_BC[:, :1])
        begins_BC = np.where(here_BC, np.cumsum(sizes_BC, 1) - sizes_BC, 0)
        places_T = np.arange(sizes_BC.max(initial=0))
        mask_BCT = places_T < sizes_BC[..., None]
        batch = {"attention_mask": mask_BCT.astype(np.int64), "here": here_BC.astype(bool)}
        for name, filling in (("input_ids", tokenizer.pad_token_id), ("token_type_ids", 0)):
            if name in encoded.tokens:
                held = encoded.tokens[name]
                source_BCT = np.where(mask_BCT, held.offsets[rows][:, None, None] + begins_BC[..., None] + places_T, 0)
                batch[name] = np.where(mask_BCT, held.flat[source_BCT], filling).astype(np.int64)
        batch |= {"labels": encoded.dense["labels"][rows]} if "labels" in encoded.dense else {}
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scores of the choices [B, C], far below all others for one that a row does not have."""
        return _logits(model, batch)

    def taught(self, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Divergence from the teacher's distribution over the row's choices."""
        return _losses.soft(scores, wanted.nan_to_num(_CUT_OFF)[:, : scores.shape[1]], temperature)

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """Scores of the choices that a row has."""
        return boxed([scores[here] for scores, here in zip(_logits(model, batch).cpu().numpy(), batch["here"].cpu().numpy(), strict=True)])

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Probabilities of each row's own choices, [B] of arrays."""
        shares_BC = _logits(model, batch).softmax(-1).cpu().numpy()
        return {"shares": boxed([shares[here] for shares, here in zip(shares_BC, batch["here"].cpu().numpy(), strict=True)])}

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """Probabilities as scores [N, C], 0 for a choice that a row does not have, and its choices."""
        scores_NC = np.zeros((len(rows), max(map(len, columns["shares"]), default=0)))
        for row, shares in zip(scores_NC, columns["shares"], strict=True):
            row[: len(shares)] = shares
        return {"scores": scores_NC, "choices": boxed(_choices(rows))}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Accuracy, log loss and calibration error by their usual names."""
        return _scores.class_metrics(columns["scores"], columns["answers"], _FIGURES if names is None else names)

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return _scores.class_tally(columns["scores"], columns["answers"], names)

    def details(self, columns: Columns) -> dict[str, Any]:
        """Calibration; which place was right says nothing."""
        found = _scores.class_details(columns["scores"], columns["answers"], [str(place) for place in range(columns["scores"].shape[1])])
        return {"calibration": found["calibration"]}

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """The chosen text, its place from 0, and its probability."""
        scores_NC = np.asarray(columns["scores"])
        places = scores_NC.argmax(1).tolist()
        texts = [choices[place] for choices, place in zip(columns["choices"].tolist(), places, strict=True)]
        return {"predicted": texts, "place": places, "confidence": scores_NC.max(1).tolist()}


def _choices(rows: pa.Table) -> list[list[str]]:
    """Each row's choices; a DataError where there are fewer than two."""
    if CHOICES not in rows.column_names:
        raise DataError(
            "there is no column of choices", wanted="a list of texts in each row, or columns", fix="name it: --set task.choices=…"
        )
    found: list[list[str]] = column(rows, CHOICES)
    for choices, row in zip(found, column(rows, ROW), strict=True):
        if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(each, str) for each in choices):
            raise DataError(f"row {row} has the choices {choices!r}", wanted="two texts or more", fix="correct the row, or task.choices")
    return found


def _both(rows: pa.Table) -> tuple[list[str], list[str], list[int]]:
    """First and second text of each choice of each row, and how many each row has."""
    choices, asked = _choices(rows), column(rows, TEXT)
    passages = column(rows, PAIR) if PAIR in rows.column_names else [None] * len(asked)
    firsts = [question if passage is None else passage for question, passage in zip(asked, passages, strict=True)]
    begins = ["" if passage is None else f"{question} " for question, passage in zip(asked, passages, strict=True)]
    counts = [len(each) for each in choices]
    return (
        [text for text, count in zip(firsts, counts, strict=True) for _ in range(count)],
        [begin + choice for begin, each in zip(begins, choices, strict=True) for choice in each],
        counts,
    )


def _by_row(ids: list[list[int]], sizes: Ragged) -> Ragged:
    """Tokens of a row's choices one after the other."""
    flat = Ragged.of(ids)
    return Ragged(flat.flat, flat.offsets[sizes.offsets])


def _widest(sizes: Ragged) -> np.ndarray:
    return np.maximum.reduceat(sizes.flat, sizes.offsets[:-1]).astype(np.int64) if len(sizes) else np.zeros(0, np.int64)


def _letter(name: str) -> int:
    """A is 0; what is no single letter is -1."""
    return string.ascii_uppercase.find(name.upper()) if len(name) == 1 else -1


def _counting(rows: pa.Table) -> Literal["0", "1", "text"]:
    """From which number answers are counted, by the rows themselves; beside letters, numbers begin at 1 as letters do at A."""
    labels, choices = column(rows, LABEL), _choices(rows)
    if all(isinstance(label, str) and own.count(spell(label)) == 1 for label, own in zip(labels, choices, strict=True)):
        return "text"
    names, counts = [spell(label) for label in labels], [len(each) for each in choices]
    numbers = [(int(name), count) for name, count in zip(names, counts, strict=True) if name.isdecimal()]
    if not numbers or any(number == 0 for number, _ in numbers):
        return "0"
    beside_letters = len(numbers) < len(names)
    return "1" if beside_letters or any(number == count for number, count in numbers) else "0"


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """Scores in fp32, [B, C]; far below all others for a choice that a row does not have."""
    out: Tensor = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}).logits
    return out.float().masked_fill(~batch["here"], _CUT_OFF)
