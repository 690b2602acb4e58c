"""Name the tag of each word: entities in BIO, parts of speech, chunks.

Prefer text-classification where the whole text has one label; prefer question-answering where what to find is asked in words.
Needs a column of words (a list a row) and one of as many tags: JSON lines, Parquet, or a CoNLL file (a word a line).
A word is answered by its first token (Devlin et al. 2019, https://arxiv.org/abs/1810.04805); entities are read as seqeval reads them.
A row that is longer than the base takes is read in windows that overlap, and each of its words is answered in one of them.

Shape letters: N rows, P windows, B windows in a batch, T tokens, W words, C tags.
"""

from collections.abc import Collection
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from rootstock.core import tokens
from rootstock.core.errors import DataError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, PART, ROW, TEXT, WORDS, Columns, Encoded, Ragged, boxed, column, spell
from rootstock.core.seed import Draw
from rootstock.core.tally import Tally
from rootstock.core.task import Batch, Kind, Scored
from rootstock.tasks import _losses, _tags, _text

_NOT_ASKED = -100
_ENTITIES, _TAGS = ("f1", "precision", "recall", "accuracy"), ("accuracy", "macro_f1")


class TokenClassification(Scored):
    """Tags come from the training rows and survive to config, predictions and report. A plain text is parted at blanks and marks."""

    parted: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    """Tags in the order of the model's outputs. Empty: found in the training rows."""
    stride: int = Field(default=64, ge=0)
    """Tokens that neighbouring windows of a long row share, at most half of one: half of them stand between a word and its window's end."""

    @property
    def batch_tokens(self) -> int | None:
        """Each word has an answer, most of them the same: few large updates learn that one alone (docs/log.md)."""
        return 512

    @property
    def kind(self) -> Kind:
        """A tag for each word."""
        return "tags"

    @property
    def headline(self) -> tuple[str, ...]:
        """Entities found, where tags mark entities; else words tagged right."""
        return _ENTITIES if _tags.marks_entities(self.labels) else _TAGS

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The first headline figure, then the smaller log loss."""
        return self.headline[0], "log_loss"

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Words with as many tags suit, and nothing else. A few rows where they differ are faults, which `fit` names."""
        if WORDS not in rows.column_names or not pa.types.is_list(rows.column(LABEL).type):
            return 0.0
        alike = [len(words) == len(tags) for words, tags in zip(column(rows, WORDS), column(rows, LABEL), strict=True)]
        return sum(alike) / max(len(alike), 1)

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Learn the tags; rows whose words and tags differ in number, or a tag that training never shows, are a DataError."""
        for rows in (train, validation):
            _check_lengths(rows)
        names = self.labels or _text.in_order({spell(tag) for tags in column(train, LABEL) for tag in tags})
        if len(names) < 2:
            raise DataError(f"the tags are all {names[0]!r}" if names else "there are no tags", wanted="two or more", fix="check --label")
        made = self.model_copy(update={"labels": names})
        made.answers(validation)
        return made

    def names(self, label: Any) -> list[str]:
        """The tag of each word."""
        return [spell(tag) for tag in label]

    def head(self) -> Head:
        """A token classifier whose config carries the tags."""
        names = dict(enumerate(self.labels))
        options = {"num_labels": len(self.labels), "id2label": names, "label2id": {name: number for number, name in names.items()}}
        return Head(auto="AutoModelForTokenClassification", options=options)

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Windows of rows: token ids, the first token of each of their words (below 0 where it has none), and labelled rows' tags."""
        words = _words(rows)
        texts = [" ".join(each) for each in words]
        made = tokens.tokenised(tokenizer, texts, return_offsets_mapping=True)
        found = [
            (row, window)
            for row, (ids, offsets) in enumerate(zip(made["input_ids"], made.get("offset_mapping", []), strict=True))
            for window in self._windows(np.asarray(ids, np.int32), offsets, words[row], length)
        ]
        ids = Ragged.of([window.ids for _, window in found])
        held = {"input_ids": ids, "firsts": Ragged.of([window.firsts for _, window in found])}
        if LABEL in rows.column_names:
            tags = self._numbers(rows)
            held["tags"] = Ragged.of([tags[row][window.words] for row, window in found])
        return Encoded(held, {PART: np.array([row for row, _ in found], np.int32)}, ids.lengths)

    def _windows(self, ids_T: np.ndarray, offsets: Any, words: list[str], length: int | None) -> list[_tags.Window]:
        real_T = [place for place, (begin, end) in enumerate(offsets) if end > begin]
        inside = (real_T[0], real_T[-1] + 1) if real_T else (0, 0)
        return list(_tags.windows(ids_T, inside, _tags.first_tokens(offsets, words), length=length, stride=self.stride))

    def _numbers(self, rows: pa.Table) -> list[np.ndarray]:
        number = {name: place for place, name in enumerate(self.labels)}
        found = []
        for tags, row in zip(column(rows, LABEL), column(rows, ROW), strict=True):
            names = self.names(tags)
            if strange := [name for name in names if name not in number]:
                raise DataError(
                    f"row {row} has the tag {strange[0]!r}, which no training row has",
                    wanted=f"one of {', '.join(map(repr, self.labels[:20]))}",
                    fix="correct the tag, or add training rows that have it; evaluate --accept unseen leaves such rows out",
                )
            found.append(np.array([number[name] for name in names], dtype=np.int16))
        return found

    def answers(self, rows: pa.Table) -> np.ndarray:
        """The tags' numbers [N, W], below 0 behind a row's words; DataError where words and tags differ in number."""
        _check_counts(rows)
        return _tags.padded(self._numbers(rows))

    def truth(self, rows: pa.Table) -> list[Any]:
        """The tags of each row."""
        return [self.names(tags) for tags in column(rows, LABEL)]

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids and mask [B, T], the words' first tokens [B, W], and as labels [B, T] each word's tag at its first token, -100 elsewhere."""
        ids_BT, mask_BT = encoded.tokens["input_ids"].masked(rows, tokenizer.pad_token_id)
        firsts_BW = encoded.tokens["firsts"].padded(rows, _tags.NO_WORD)
        batch = {"input_ids": ids_BT, "attention_mask": mask_BT, "firsts": firsts_BW}
        if "tags" in encoded.tokens:
            labels_BT = np.full_like(ids_BT, _NOT_ASKED)
            row_M, word_M = np.nonzero(firsts_BW >= 0)
            labels_BT[row_M, firsts_BW[row_M, word_M]] = encoded.tokens["tags"].padded(rows, _NOT_ASKED)[row_M, word_M]
            batch["labels"] = labels_BT
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits of each word at its first token, [B, W, C]; nan where it has none, as behind a window's words."""
        firsts_BW = batch["firsts"]
        rows_B1 = torch.arange(len(firsts_BW), device=firsts_BW.device)[:, None]
        found_BWC = _logits(model, batch)[rows_B1, firsts_BW.clamp(min=0)]
        return found_BWC.masked_fill((firsts_BW < 0)[..., None], torch.nan)

    def losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats, summed over a window's words."""
        labels_BW = _of_words(batch)
        known_BWC = scores.masked_fill((batch["firsts"] < 0)[..., None], 0.0)  # else the gradient of what is not asked were nan as well
        return (
            F.cross_entropy(known_BWC.flatten(0, 1), labels_BW.flatten(), reduction="none", ignore_index=_NOT_ASKED)
            .view_as(labels_BW)
            .sum(1)
        )

    def items(self, batch: Batch) -> Tensor:
        """A window's words, of those that have a token."""
        return (_of_words(batch) != _NOT_ASKED).sum(1)

    def taught(self, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Divergence from the teacher's distribution over tags, summed over the words that both have read."""
        asked_BW1, more = ~scores.isnan().any(-1, keepdim=True), max(scores.shape[1] - wanted.shape[1], 0)
        wanted = F.pad(wanted, (0, 0, 0, more), value=torch.nan)[:, : scores.shape[1]].masked_fill(~asked_BW1, torch.nan)
        return _losses.soft(scores.nan_to_num(0.0), wanted, temperature).sum(1)

    def parted_alike(self, theirs: Encoded, own: Encoded) -> bool:
        """Whether their windows hold the same words."""
        return np.array_equal(theirs.tokens["firsts"].lengths, own.tokens["firsts"].lengths)

    def aligned(self, said: np.ndarray, theirs: Encoded, own: Encoded) -> np.ndarray:
        """What a teacher said of the words of its windows [P, W, C], by those of the student's, which may part the same rows elsewhere."""
        if self.parted_alike(theirs, own):
            return said
        theirs_P, own_P = (each.tokens["firsts"].lengths for each in (theirs, own))
        made = np.full((len(own_P), own_P.max(initial=0), said.shape[2]), np.nan, said.dtype)
        made[np.arange(made.shape[1]) < own_P[:, None]] = said[np.arange(said.shape[1]) < theirs_P[:, None]]
        return made

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """Scores of each token's tags."""
        return boxed(list(_logits(model, batch).cpu().numpy()))

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Each word's tag and its probability, and of labelled rows the summed log loss and the words that it is of."""
        logs_BTC, firsts_BW = _logits(model, batch).log_softmax(-1), batch["firsts"]
        rows_B1 = torch.arange(len(firsts_BW), device=firsts_BW.device)[:, None]
        sure_BW, tag_BW = logs_BTC[rows_B1, firsts_BW.clamp(min=0)].max(-1)
        tag_BW = torch.where(firsts_BW >= 0, tag_BW, firsts_BW)
        counts_B = (firsts_BW != _tags.NO_WORD).sum(1).tolist()
        both = zip(tag_BW.cpu().numpy(), sure_BW.exp().cpu().numpy(), counts_B, strict=True)
        tags, sure = zip(*((tags[:count], sure[:count]) for tags, sure, count in both), strict=True)
        found: dict[str, np.ndarray] = {"tags": boxed(tags), "sure": boxed(sure)}
        if "labels" in batch:
            asked_BT = batch["labels"] != _NOT_ASKED
            lost_BT = -logs_BTC.gather(-1, batch["labels"].clamp(min=0)[..., None])[..., 0] * asked_BT
            found |= {"loss": lost_BT.double().sum(1).cpu().numpy(), "items": asked_BT.sum(1).cpu().numpy()}
        return found

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """Tags as scores [N, W], a row's words, and the probability of its least certain tag, from the windows of each row."""
        first_N = np.searchsorted(encoded.dense[PART], np.arange(len(rows)))
        kept = {name: np.add.reduceat(columns[name], first_N) for name in ("loss", "items") if name in columns}
        tags, sure = [], []
        for first, last in pairwise([*first_N.tolist(), len(encoded)]):
            tags.append(np.concatenate(list(columns["tags"][first:last])))
            sure.append(float(np.concatenate(list(columns["sure"][first:last])).min(initial=1.0)))
        return {**kept, "scores": _tags.padded(tags), "words": boxed(_words(rows)), "confidence": np.array(sure)}

    def judged(self, columns: Columns) -> Columns:
        """Things found, predicted and answered of each kind, and words tagged right, a row each."""
        lost = {name: columns[name] for name in ("loss", "items") if name in columns}
        return {**_tags.counted(columns, self.labels), **lost}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """F1, precision and recall over entities (over words where tags mark none), macro F1, accuracy of words, log loss."""
        return _tags.figures(columns, names)

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return _tags.tallied(columns, names)

    def details(self, columns: Columns) -> dict[str, Any]:
        """A table of the kinds."""
        return {"per_class": _tags.per_kind(self.judged(columns), _tags.kinds(self.labels))}

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """The words, the tag of each ("" for one that the tokenizer has no token for), and the probability of the least certain one."""
        words = columns["words"].tolist()
        tags = [
            [self.labels[tag] if tag >= 0 else "" for tag in row[: len(own)]]
            for row, own in zip(np.asarray(columns["scores"]).tolist(), words, strict=True)
        ]
        return {"words": words, "predicted": tags, "confidence": np.asarray(columns["confidence"]).tolist()}


def _words(rows: pa.Table) -> list[list[str]]:
    if WORDS in rows.column_names:
        return column(rows, WORDS)
    return [_tags.words_of(text) for text in column(rows, TEXT)]


def _check_lengths(rows: pa.Table) -> None:
    if WORDS not in rows.column_names:
        raise DataError("the text is no list of words", wanted="a list of words in each row", fix="name the column with --text NAME")
    _check_counts(rows)


def _check_counts(rows: pa.Table) -> None:
    for words, tags, row in zip(_words(rows), column(rows, LABEL), column(rows, ROW), strict=True):
        if not isinstance(tags, list) or len(words) != len(tags):
            held = f"{len(tags)} tags" if isinstance(tags, list) else f"the label {tags!r}"
            raise DataError(f"row {row} has {len(words)} words and {held}", wanted="a tag for each word", fix="correct the row, or --label")


def _of_words(batch: Batch) -> Tensor:
    """Each word's tag [B, W]; -100 where it has no token."""
    firsts_BW, labels_BT = batch["firsts"], batch["labels"]
    return torch.where(firsts_BW >= 0, labels_BT.gather(1, firsts_BW.clamp(min=0)), _NOT_ASKED)


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    out: Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return out.float()
