"""Find the answer to a question in a passage: a span of its text, or that there is none.

Prefer token-classification where the same things are sought in every text; prefer multiple-choice where answers to choose from are given.
Needs a question, its context, and answers with the letter where each begins: SQuAD's JSON (v1.1 or v2), or rows with such columns.
A long passage is read in windows that overlap, and the best span of all of them is the answer (Devlin et al. 2019,
https://arxiv.org/abs/1810.04805). Figures are SQuAD's (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250).

Shape letters: N rows, P windows, B windows in a batch, T tokens.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from rootstock.core import tokens
from rootstock.core.errors import DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, PAIR, PART, ROW, TEXT, Columns, Encoded, Ragged, boxed, column
from rootstock.core.seed import Draw
from rootstock.core.tally import Tally
from rootstock.core.task import Batch, Kind, Scored
from rootstock.tasks import _spans, _text

_STARTS = "answer_starts"
_EXAMPLES = 3


class QuestionAnswering(Scored):
    """The text column is the question, text_pair its passage, label the answers: a text, or a list of true ones, none if it is empty."""

    further: ClassVar[Mapping[str, tuple[str, ...]]] = {_STARTS: ("answerstarts", "answerstart")}
    called: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("question",),
        "text_pair": ("context", "passage", "paragraph"),
        "label": ("answers", "answer"),
    }
    parted: ClassVar[bool] = True
    by_token: ClassVar[bool] = True
    together: ClassVar[str | None] = PAIR

    answer_starts: str | None = None
    """Column of the letters, 0-based, at which the answers begin. None: found by name, or each answer's first occurrence is meant."""
    misaligned: Literal["refuse", "search"] = "refuse"
    """What becomes of an answer that does not stand at its start. search: its nearest occurrence is meant; one without any is refused."""
    stride: int = Field(default=128, ge=0)
    """Tokens that neighbouring windows of a long passage share, at most half of one. BERT's 128 holds nearly every answer whole."""
    longest_answer: int = Field(default=30, ge=1)
    """Most tokens of an answer that is given. 30 is BERT's; longer where clauses are asked for, as in contracts."""
    no_answer: Literal["auto", "yes", "no"] = "auto"
    """Whether it may answer that there is none. auto: yes where a training row has none."""
    threshold: float = 0.0
    """How far the score of no answer must lie above the best span's to be the answer."""

    @property
    def kind(self) -> Kind:
        """A span of the passage."""
        return "span"

    @property
    def headline(self) -> tuple[str, ...]:
        """F1 over words, then exact match."""
        return "f1", "exact_match"

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """F1, then the smaller log loss."""
        return "f1", "log_loss"

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Nothing by its labels: `suits` knows such files by their columns."""
        return 0.0

    @classmethod
    def suits(cls, names: Collection[str]) -> bool:
        """A question, a passage, and letters where answers begin."""
        parts = (*cls.called.values(), *cls.further.values())
        return all(any(name in names for name in part) for part in parts)

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Learn whether rows can be without answer; an answer that does not stand at its start is a DataError."""
        for rows in (train, validation):
            _check_columns(rows)
            self._aligned(rows)
        without = any(not held for held in _held(train))
        return self if self.no_answer != "auto" else self.model_copy(update={"no_answer": "yes" if without else "no"})

    def names(self, label: Any) -> list[str]:
        """The true answers."""
        return _texts(label)

    def head(self) -> Head:
        """A start and an end score for each token."""
        return Head(auto="AutoModelForQuestionAnswering", options={"num_labels": 2})

    def _aligned(self, rows: pa.Table) -> list[list[int]]:
        """Where each row's answers begin; raises DataError with the count and the first of those that stand elsewhere."""
        found, wrong, count = [], [], 0
        for held, passage, row in zip(_held(rows), column(rows, PAIR), column(rows, ROW), strict=True):
            places = [self._place(answer, passage) for answer in held]
            count += len(held)
            wrong += [_Misaligned(row, answer, passage) for answer, place in zip(held, places, strict=True) if place is None]
            found.append([place or 0 for place in places])
        if not wrong:
            return found
        raise DataError(
            f"{len(wrong):,} of {count:,} answers do not stand where they should:" + "".join(map(str, wrong[:_EXAMPLES])),
            wanted="each answer's text in the passage, from the letter that answer_start counts from 0",
            fix="correct the rows, or take each answer's nearest occurrence with --set task.misaligned=search",
        )

    def _place(self, answer: "_Answer", passage: str) -> int | None:
        if answer.start is not None and answer.start >= 0 and passage.startswith(answer.text, answer.start):
            return answer.start
        if answer.start is not None and self.misaligned == "refuse":
            return None
        return _nearest(answer.text, passage, answer.start or 0)

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Windows of passages: token ids, each token's letters of the passage, and the answer's first and last token of labelled rows."""
        _check_columns(rows)
        texts = [column(rows, name) for name in (TEXT, PAIR)]
        read = (
            _spans.read(made, row, tokenizer.cls_token_id)
            for made in tokens.parts(tokenizer, *texts, return_offsets_mapping=True)
            for row in range(len(made["input_ids"]))
        )
        answers = self._first_answers(rows) if LABEL in rows.column_names else [None] * len(rows)
        found = [
            window
            for row, (each, answer, place) in enumerate(zip(read, answers, column(rows, ROW), strict=True))
            for window in _spans.windows(each, row=row, place=place, length=length, stride=self.stride, answer=answer)
        ]
        ids = Ragged.of([each.ids for each in found])
        held = {"input_ids": ids, "begins": Ragged.of([each.begins for each in found]), "ends": Ragged.of([each.ends for each in found])}
        if "token_type_ids" in tokenizer.model_input_names:
            held["token_type_ids"] = Ragged.of([each.types for each in found], np.int8)
        dense: dict[str, np.ndarray] = {
            PART: np.array([each.row for each in found], np.int32),
            "null": np.array([each.null for each in found], np.int64),
        }
        if LABEL in rows.column_names:
            dense["labels"] = np.array([each.answer for each in found], np.int64).reshape(-1, 2)
        return Encoded(held, dense, ids.lengths)

    def _first_answers(self, rows: pa.Table) -> list[tuple[int, int] | None]:
        """First letter of each row's first answer and the one behind its last; None where it has none."""
        both = zip(_held(rows), self._aligned(rows), strict=True)
        return [(places[0], places[0] + len(held[0].text)) if held else None for held, places in both]

    def answers(self, rows: pa.Table) -> np.ndarray:
        """The passage and the true answers of each row, [N] of tuples: SQuAD compares texts."""
        return boxed([(passage, tuple(_texts(label))) for passage, label in zip(column(rows, PAIR), column(rows, LABEL), strict=True)])

    def truth(self, rows: pa.Table) -> list[Any]:
        """Each row's true answers, a list of texts."""
        return [_texts(label) for label in column(rows, LABEL)]

    def agrees(self, said: Any, true: Any) -> bool:
        """Whether it is one of them, as SQuAD compares."""
        return bool(_spans.exact(said, true))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids, mask and letters of the passage [B, T], the null token [B], and as labels [B, 2] the answer's first and last token."""
        places = {name: torch.from_numpy(encoded.tokens[name].padded(rows, _spans.OUTSIDE)) for name in ("begins", "ends")}
        return {**_text.pad_batch(encoded, rows, tokenizer), **places, "null": torch.from_numpy(encoded.dense["null"][rows])}

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Start and end scores, [B, 2, T]; nan for a token that is neither of the passage nor the null one."""
        return _open(_scores(model, batch), batch)

    def losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """Mean of start's and end's cross-entropy in nats over the passage's tokens and the null one, [B]."""
        found = scores.masked_fill(~_may(batch)[:, None], _spans.NEVER).flatten(0, 1)  # nan in the passage is a model's that has diverged
        return F.cross_entropy(found, batch["labels"].flatten(), reduction="none").view(-1, 2).mean(1)

    def items(self, batch: Batch) -> Tensor:
        """A window is one."""
        return torch.ones_like(batch["null"])

    def taught(self, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Mean of the divergences from the teacher's distributions of starts and ends, over the tokens that may be one."""
        logs = [(each / temperature).nan_to_num(_spans.NEVER).log_softmax(-1) for each in (wanted[..., : scores.shape[-1]], scores)]
        apart = (logs[0].exp() * (logs[0] - logs[1])).sum(-1)
        return temperature**2 * apart.mean(1)

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """Start and end scores of each token."""
        return boxed(list(torch.stack(_scores(model, batch), 1).cpu().numpy()))

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Of each window its best span's letters and score, logsumexp over all spans, the score of no answer, and of labelled log loss."""
        start_BT, end_BT = _scores(model, batch)
        found = _spans.best(start_BT, end_BT, batch["begins"] >= 0, null_B=batch["null"], most=self.longest_answer)
        rows_B = torch.arange(len(start_BT), device=start_BT.device)
        letters = torch.stack([batch["begins"][rows_B, found.first], batch["ends"][rows_B, found.last.clamp(max=start_BT.shape[1] - 1)]], 1)
        columns = {"letters": letters, "score": found.score, "every": found.every, "null": found.null}
        if "labels" in batch:
            columns["loss"] = self.losses(_open((start_BT, end_BT), batch), batch)
        return {name: values.cpu().numpy() for name, values in columns.items()}

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """As scores [N, 2] the letters from and up to which the best span of all windows goes (below 0: none), its text and probability."""
        part_P, count = encoded.dense[PART], len(rows)
        first_N = np.searchsorted(part_P, np.arange(count))
        last_N = np.lexsort((columns["score"], part_P))[np.searchsorted(part_P, np.arange(count), side="right") - 1]
        score_N, letters_N2 = columns["score"][last_N].astype(np.float64), columns["letters"][last_N].astype(np.int32)
        every_N = np.logaddexp.reduceat(columns["every"].astype(np.float64), first_N)
        null_N = np.minimum.reduceat(columns["null"].astype(np.float64), first_N)
        if self.no_answer == "yes":
            every_N, none_N = np.logaddexp(every_N, null_N), null_N > score_N + self.threshold
            score_N, letters_N2 = np.where(none_N, null_N, score_N), np.where(none_N[:, None], _spans.OUTSIDE, letters_N2)
        lost = {name: np.add.reduceat(values, first_N) for name, values in _counted(columns).items()}
        texts = [_cut(passage, *letters) for passage, letters in zip(column(rows, PAIR), letters_N2.tolist(), strict=True)]
        return {**lost, "scores": letters_N2, "texts": boxed(texts), "confidence": np.exp(np.minimum(score_N - every_N, 0))}

    def judged(self, columns: Columns) -> Columns:
        """F1 and exact match of each row, and whether it has an answer."""
        rows = list(zip(np.asarray(columns["scores"]).tolist(), columns["answers"].tolist(), strict=True))
        said = [(_cut(passage, *letters), golds) for letters, (passage, golds) in rows]
        kept = {name: columns[name] for name in ("loss", "items") if name in columns}
        return {
            **kept,
            "f1": np.array([_spans.overlap(*each) for each in said], np.float64),
            "exact_match": np.array([_spans.exact(*each) for each in said], np.float64),
            "answerable": np.array([any(golds) for _, golds in said], bool),
        }

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """F1 and exact match in [0, 1], of either kind of row where some have no answer, and log loss."""
        return _spans.figures(columns, names)

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return _spans.tallied(columns, names)

    def details(self, columns: Columns) -> dict[str, Any]:
        """Nothing more than the figures: answers are no classes."""
        return {}

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """The answer's text ("" for none), its probability among all spans, and the letter of the passage at which it begins."""
        begins = np.asarray(columns["scores"])[:, 0].tolist()
        return {"predicted": columns["texts"].tolist(), "confidence": np.asarray(columns["confidence"]).tolist(), "begins": begins}


class _Answer(NamedTuple):
    text: str
    start: int | None


class _Misaligned(NamedTuple):
    """An answer that does not stand where it should."""

    row: int
    answer: _Answer
    passage: str

    def __str__(self) -> str:
        text, start = self.answer
        if start is None:
            return f"\n  row {self.row}: {text[:60]!r} does not occur in the passage"
        there = self.passage[max(start, 0) :][: len(text)][:60]
        return f"\n  row {self.row}: {text[:60]!r} at letter {start}, where the passage has {there!r}"


def _texts(label: Any) -> list[str]:
    """True answers of a row: blank ones are none."""
    return [str(each) for each in (label if isinstance(label, list) else [label]) if str(each).strip()]


def _held(rows: pa.Table) -> list[list[_Answer]]:
    """Answers of each row with their starts, where these are known."""
    labels = column(rows, LABEL)
    starts = column(rows, _STARTS) if _STARTS in rows.column_names else [None] * len(labels)
    return [_answers(label, start, row) for label, start, row in zip(labels, starts, column(rows, ROW), strict=True)]


def _answers(label: Any, start: Any, row: int) -> list[_Answer]:
    texts = [str(each) for each in (label if isinstance(label, list) else [label])]
    places = start if isinstance(start, list) else [start] * len(texts)
    if len(places) != len(texts):
        raise DataError(f"row {row} has {len(texts)} answers and {len(places)} starts", wanted="a start for each answer", fix="correct it")
    return [_Answer(text, _letter(place, row)) for text, place in zip(texts, places, strict=True) if text.strip()]


def _letter(place: Any, row: int) -> int | None:
    """A start as a whole number; None where none is told."""
    if place is None:
        return None
    found = _text.numbers([place])
    if found is None or not found[0].is_integer():
        raise DataError(f"row {row} has the answer start {place!r}", wanted="a letter of the passage, counted from 0", fix="correct it")
    return int(found[0])


def _nearest(text: str, passage: str, start: int) -> int | None:
    """The occurrence of a text that begins nearest to a letter."""
    before, after = passage.rfind(text, 0, max(start, 0) + len(text)), passage.find(text, max(start, 0))
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start)) if places else None


def _check_columns(rows: pa.Table) -> None:
    if PAIR not in rows.column_names:
        wanted = "two columns, a question and the passage that holds its answer"
        raise DataError("there is one column of text", wanted=wanted, fix="name them with --text QUESTION --text-pair PASSAGE")


def _cut(passage: str, begin: int, end: int) -> str:
    """The letters of a span without blanks around them; "" for no answer."""
    return passage[begin:end].strip() if begin >= 0 else ""


def _counted(columns: Columns) -> dict[str, np.ndarray]:
    """Log loss and count of each window, where it is known."""
    return {"loss": columns["loss"].astype(np.float64), "items": np.ones(len(columns["loss"]))} if "loss" in columns else {}


def _scores(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Start and end scores in fp32, [B, T] each."""
    out = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch})
    return out.start_logits.float(), out.end_logits.float()


def _open(scores: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
    """Both scores as one, [B, 2, T], nan where no answer may begin or end: only the passage's tokens and the null one are open."""
    return torch.stack(scores, 1).masked_fill(~_may(batch)[:, None], torch.nan)


def _may(batch: Batch) -> Tensor:
    """Where an answer may begin or end, [B, T]."""
    return (batch["begins"] >= 0).scatter(1, batch["null"][:, None], True)
