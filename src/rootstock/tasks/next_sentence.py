"""Guess masked tokens, and whether one text goes on with the other (BERT's masked-lm with next-sentence prediction).

Prefer it to masked-lm where the base is to compare texts (inference, paraphrases, answers): it learns to read two texts at once, and what a
classifier reads is trained before there is a label. For single texts masked-lm alone did as well or better (Liu et al. 2019,
https://arxiv.org/abs/1907.11692). Needs documents of several sentences. Devlin et al. 2019, https://arxiv.org/abs/1810.04805

Shape letters: B rows in a batch, T tokens in a row, M masked tokens.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.loaded import Head
from rootstock.core.rows import DOCUMENT, PART, Columns, Encoded, Ragged, column
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _masks, _pieces, _sentences, _vocabulary

_SPECIAL = 3
"""[CLS] and two [SEP]."""
_LEAST = 8
"""Tokens of the shortest row: two texts of two tokens, and one to spare."""
_MANY, _FEW = 20, 0.1
"""Of so many documents at least this share must have two sentences, or nearly every second text would be a false one."""
_ENDS = 0.1
"""A row that ends its document is whole as a true pair, where a false one is cut: both lose up to this share, or the cut would tell."""


class NextSentence(_masks.Guessing):
    """[CLS] A [SEP] B [SEP]: B is what follows A, or text of another document. Which, where A ends, and the masks: anew in each epoch.

    The loss is masked-lm's mean over the masked tokens plus next-sentence's mean over the rows, where a row weighs as many as its masked
    tokens: each masked token brings its own loss and that of its row, so there is one sum and one count that add up over any batches.
    """

    likelihood: ClassVar[bool] = False

    random: float = Field(default=0.5, gt=0, lt=1)
    """Share of the rows whose second text is of another document; half, as in BERT. Documents of one sentence have no true second text."""
    short: float = Field(default=0.1, ge=0, le=1)
    """Share of the rows that are cut to a random length, as in BERT, so that short pairs are no stranger than long ones."""

    @property
    def headline(self) -> tuple[str, ...]:
        """Both things that are guessed, behind the loss that decides."""
        return ("loss", "accuracy", "next_sentence_accuracy")

    def head(self) -> Head:
        """Both of BERT's heads."""
        return Head(auto="AutoModelForPreTraining")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Runs of consecutive sentences that fill a row, with the place of each row in its text, the rows of this, and its document."""
        if length is not None and length < _LEAST:
            raise RecipeError(f"rows of {length} tokens can't hold two texts", wanted=f"training.length of {_LEAST} or more")
        _masks.mask_token(tokenizer, "next-sentence")
        room = (length or 10**9) - _SPECIAL
        runs = [_runs(sentences, room) if sentences else [] for sentences in _sentences.split(rows, tokenizer, room // 2)]
        made = list(chain.from_iterable(runs))
        part_N = np.repeat(np.arange(len(runs), dtype=np.int32), [len(run) for run in runs])
        document_R = np.array(column(rows, DOCUMENT) if DOCUMENT in rows.column_names else range(len(rows)), np.int32)
        ids = Ragged.of([np.concatenate(run) for run in made])
        sizes = Ragged.of([[len(sentence) for sentence in run] for run in made])
        dense = {
            "room": np.minimum(ids.lengths, room).astype(np.int32),
            "place": np.array([place for run in runs for place in range(len(run))], np.int32),
            "rows": np.array([len(run) for run in runs for _ in run], np.int32),
            PART: part_N,
            DOCUMENT: document_R[part_N],
        }
        return Encoded({"input_ids": ids, "sentences": sizes}, dense, dense["room"].astype(np.int64) + _SPECIAL)

    def check_rows(self, encoded: Encoded) -> None:
        """Refuse one document alone, and documents that are nearly all single sentences."""
        _, own_N = np.unique(encoded.dense[DOCUMENT], return_inverse=True)
        sentences_D = np.bincount(own_N, encoded.tokens["sentences"].lengths)
        if len(sentences_D) == 1:
            raise DataError("all text is one document", wanted="others, to take false second texts from", fix="add documents")
        several = int((sentences_D > 1).sum())
        if len(sentences_D) >= _MANY and several < _FEW * len(sentences_D):
            raise DataError(
                f"of {len(sentences_D):,} documents only {several:,} have two sentences",
                wanted="documents in which sentences follow each other",
                fix="choose --task masked-lm for single sentences",
            )

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids with masks in them, each token's text (0, 1) and labels as in masked-lm [B, T], and 1 where B is a false one [B]."""
        first, last = _ends(tokenizer)
        numbers_B9 = draw.uniform("pair", rows, 9)
        made = [self._pair(encoded, row, numbers) for row, numbers in zip(rows.tolist(), numbers_B9.tolist(), strict=True)]
        whole = Ragged.of([np.concatenate([[first], a, [last], b, [last]]) for a, b, _ in made])
        border_B1 = np.array([len(a) + 2 for a, _, _ in made])[:, None]
        ids_BT = whole.padded(np.arange(len(rows)), tokenizer.pad_token_id)
        place_BT = np.arange(ids_BT.shape[1])[None]
        mask_BT = place_BT < whole.lengths[:, None]
        of = _masks.Rows(encoded, rows, draw)
        hidden = _masks.choose("token", mask_BT & ~np.isin(ids_BT, tokenizer.all_special_ids), self.share, of)
        return _pieces.tensors(
            input_ids=_masks.cover(ids_BT, hidden, (self.masked, self.replaced), of, tokenizer),
            attention_mask=mask_BT.astype(np.int64),
            token_type_ids=((place_BT >= border_B1) & mask_BT).astype(np.int64),
            labels=np.where(hidden[0], ids_BT, _vocabulary.NOT_ASKED),
            next_sentence_label=np.array([false for _, _, false in made], np.int64),
        )

    def _pair(self, encoded: Encoded, row: int, numbers: Sequence[float]) -> tuple[np.ndarray, np.ndarray, bool]:
        """Both texts of a row, and whether the second is a false one."""
        run, other = _run(encoded, row), _other(encoded, row, numbers[0])
        end = 1 + int(numbers[1] * (len(run) - 1))
        false = other is not None and (len(run) == 1 or numbers[2] < self.random)
        room = self._room(encoded, row, numbers[3:6])
        first = np.concatenate(run[:end])
        if other is not None and false:
            second = _from_another(encoded, other, numbers[6], room - len(first))
        else:
            second = np.concatenate([first[:0], *run[end:]])
        sizes = fitted(len(first), len(second), room)
        return _cut(first, sizes[0], numbers[7]), _cut(second, sizes[1], numbers[8]), false

    def _room(self, encoded: Encoded, row: int, numbers: Sequence[float]) -> int:
        """Tokens that both texts of a row have together."""
        room = int(encoded.dense["room"][row])
        if encoded.tokens["input_ids"].lengths[row] <= room:
            room -= 1 + int(numbers[0] * _ENDS * room)
        if numbers[1] < self.short:
            room = 2 + int(numbers[2] * (room - 1))
        return max(room, 2)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """In nats, summed over the masked tokens: each one's own, and its row's loss of the second text."""
        found = _vocabulary.asked(model, _inputs(batch), batch["labels"])
        own = _vocabulary.cross_entropy(found.hidden, found.layer, found.labels)
        count_B = (batch["labels"] != _vocabulary.NOT_ASKED).sum(1)
        return Loss(own + (count_B * _next_loss(found.output, batch)).sum(), len(found.labels))

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Loss, count and hits of each row as masked-lm has them, and loss and hit of its second text."""
        labels_BT = batch["labels"]
        found = _vocabulary.asked(model, _inputs(batch), labels_BT)
        rows_M = (labels_BT != _vocabulary.NOT_ASKED).nonzero()[:, 0]
        own = _vocabulary.row_results(found.hidden, found.layer, found.labels, rows_M, count=len(labels_BT))
        next_loss_B = _next_loss(found.output, batch).double().cpu().numpy()
        hits_B = (_told(found.output).argmax(-1) == batch["next_sentence_label"]).double().cpu().numpy()
        return {**own, "loss": own["loss"] + own["count"] * next_loss_B, "next_loss": next_loss_B, "next_hits": hits_B}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """loss (both), accuracy and masked_lm_loss at the masked tokens, next_sentence_accuracy and next_sentence_loss of the rows."""
        found = super().metrics(columns)
        if found:
            weighted = float(np.sum(columns["count"] * columns["next_loss"], dtype=np.float64))
            found["masked_lm_loss"] = found["loss"] - weighted / float(np.sum(columns["count"], dtype=np.float64))
            found["next_sentence_accuracy"] = float(np.mean(columns["next_hits"], dtype=np.float64))
            found["next_sentence_loss"] = float(np.mean(columns["next_loss"], dtype=np.float64))
        return found if names is None else {name: found[name] for name in names if name in found}

    def check(self, model: nn.Module) -> None:
        """Refuse a model without the head for two texts, or whose scores are more than its output layer's."""
        plain = _vocabulary.plain_model(model)
        few = _vocabulary.few_tokens(model)
        with torch.no_grad():
            two = hasattr(model(**few), "seq_relationship_logits") and getattr(plain.config, "type_vocab_size", 0) >= 2
        if not two:
            raise BaseError(
                f"{type(plain).__name__} does not tell a second text from a first",
                wanted="BERT or an architecture with its two heads",
                fix="choose --task masked-lm, or a base such as scratch:bert-mini",
            )
        _vocabulary.check_output_layer(model, few)


def fitted(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths of two texts that fit: the longer gives way, of two as long the second first (BERT's truncate_seq_pair)."""
    kept = min(first, max(room - second, (room + 1) // 2))
    return kept, min(second, room - kept)


def _cut(ids: np.ndarray, size: int, number: float) -> np.ndarray:
    """A text without what is too much of it, taken from both ends."""
    start = int(number * (len(ids) - size + 1))
    return ids[start : start + size]


def _runs(sentences: Sequence[np.ndarray], room: int) -> list[list[np.ndarray]]:
    """Consecutive sentences until a row is full; the one that passes its end is its last. None is left alone, where there are others."""
    runs: list[list[np.ndarray]] = [[]]
    size = 0
    for sentence in sentences:
        if size >= room:
            runs.append([])
            size = 0
        runs[-1].append(sentence)
        size += len(sentence)
    if len(runs) > 1 and len(runs[-1]) == 1:
        if len(runs[-2]) > 2:
            runs[-1].insert(0, runs[-2].pop())
        else:
            runs[-2] += runs.pop()
    return runs


def _run(encoded: Encoded, row: int) -> list[np.ndarray]:
    """The sentences of a row."""
    ids, sizes = (encoded.tokens[name] for name in ("input_ids", "sentences"))
    own = sizes.flat[sizes.offsets[row] : sizes.offsets[row + 1]]
    return np.split(ids.flat[ids.offsets[row] : ids.offsets[row + 1]], np.cumsum(own)[:-1])


def _text(encoded: Encoded, row: int) -> range:
    """The rows of a row's text: a document, or a part of a long one, beside which another may be held out."""
    start = row - int(encoded.dense["place"][row])
    return range(start, start + int(encoded.dense["rows"][row]))


def _document(encoded: Encoded, row: int) -> range:
    """The rows of a row's document; documents stand one after the other."""
    document_N = encoded.dense[DOCUMENT]
    return range(*(int(np.searchsorted(document_N, document_N[row], side)) for side in ("left", "right")))


def _other(encoded: Encoded, row: int, number: float) -> int | None:
    """A row of another document; None where there is none."""
    own = _document(encoded, row)
    place = int(number * (len(encoded) - len(own)))
    if len(encoded) == len(own):
        return None
    return place if place < own.start else place + len(own)


def _from_another(encoded: Encoded, row: int, number: float, wanted: int) -> np.ndarray:
    """From a random sentence of a row on, whole sentences of its text until it is enough; from before, too, where it ends too early.

    BERT takes what there is: then a short pair is a true one more often than not.
    """
    run, rows = _run(encoded, row), _text(encoded, row)
    place = int(number * len(run))
    later = chain(run[place:], chain.from_iterable(_run(encoded, each) for each in range(row + 1, rows.stop)))
    before = (_run(encoded, each)[::-1] for each in range(row - 1, rows.start - 1, -1))
    earlier = chain(run[:place][::-1], chain.from_iterable(before))
    taken = _until(later, max(wanted, 1))
    return np.concatenate([*_until(earlier, wanted - sum(map(len, taken)))[::-1], *taken])


def _until(sentences: Iterable[np.ndarray], wanted: int) -> list[np.ndarray]:
    """The first sentences that have so many tokens together, or all."""
    taken: list[np.ndarray] = []
    for sentence in sentences if wanted > 0 else ():
        taken.append(sentence)
        wanted -= len(sentence)
        if wanted <= 0:
            break
    return taken


def _ends(tokenizer: Any) -> tuple[int, int]:
    """Ids of [CLS] and [SEP]."""
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise BaseError(
            "the tokenizer has no tokens around a pair of texts",
            wanted="[CLS] and [SEP]",
            fix="train one: rootstock tokenizer train --family bert",
        )
    return tokenizer.cls_token_id, tokenizer.sep_token_id


def _inputs(batch: Batch) -> Mapping[str, Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def _told(output: Any) -> Tensor:
    told_B2: Tensor = output.seq_relationship_logits
    return told_B2.float()


def _next_loss(output: Any, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(_told(output), batch["next_sentence_label"], reduction="none")
