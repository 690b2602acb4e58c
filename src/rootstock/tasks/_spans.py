"""What question answering is made of: windows of a passage, the tokens of an answer, the best span, and SQuAD's own figures.

Shape letters: N rows, P windows, B windows in a batch, T tokens of a window, C tokens of a passage, L tokens of the longest answer.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rootstock.core.errors import DataError
from rootstock.core.tally import Sums, Tally, tally

OUTSIDE = -1
"""Where a letter's place stands: of a token that is not of the passage, and of no answer."""
_LEAST = 8
"""Fewest tokens of the passage that a window must hold for a question to make sense."""
NEVER = -1e30
"""Score of what can't be chosen: finite, so that a window without a passage is no nan."""
_ARTICLES, _MARKS = re.compile(r"\b(a|an|the)\b"), set(string.punctuation)


class Window(NamedTuple):
    """A question with a part of its passage. begins, ends: letters of the passage that each token covers, OUTSIDE where it is not its.

    answer: first and last token of the answer, both `null` where it does not lie in this window whole. null: the token that says: not here.
    """

    row: int
    ids: np.ndarray
    types: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    answer: tuple[int, int]
    null: int


class Read(NamedTuple):
    """A tokenised row. inside: first token of the passage, and the one behind its last. spans: letters of all tokens, [T, 2]."""

    ids: np.ndarray
    types: np.ndarray
    spans: np.ndarray
    inside: tuple[int, int]
    null: int


def read(made: Any, row: int, first: int | None) -> Read:
    """A row of what a fast tokenizer made of questions and passages. first: the id of its first special token, such as [CLS]."""
    parts = made.sequence_ids(row)
    begin = parts.index(1) if 1 in parts else len(parts)
    end = len(parts) - parts[::-1].index(1) if 1 in parts else begin
    ids = np.asarray(made["input_ids"][row], dtype=np.int32)
    types = np.asarray(made["token_type_ids"][row] if "token_type_ids" in made else np.zeros(len(ids)), dtype=np.int8)
    place = np.flatnonzero(ids == first)
    spans = np.asarray(made["offset_mapping"][row], dtype=np.int32).reshape(-1, 2)
    return Read(ids, types, spans, (begin, end), int(place[0]) if len(place) else 0)


def windows(held: Read, *, row: int, place: int, length: int | None, stride: int, answer: tuple[int, int] | None) -> Iterator[Window]:
    """The passage in windows of at most `length` tokens with the question, neighbours sharing `stride`; as transformers' tokenizers cut it.

    row: of the table. place: where it stood in the file. answer: its first letter and the one behind its last.
    A question that leaves too little room is a DataError.
    """
    begin, end = held.inside
    room = end - begin if length is None else length - (len(held.ids) - (end - begin))
    if room < min(end - begin, _LEAST):
        raise DataError(
            f"row {place}: the question has {len(held.ids) - (end - begin)} tokens with what stands around it, and {length} are read",
            wanted=f"{_LEAST} left for the passage",
            fix="shorten the question, or raise training.length",
        )
    step = max(1, room - min(stride, room // 2))
    target = _tokens(held, answer) if answer else None
    for start in range(begin, max(end, begin + 1), step):
        stop = min(start + room, end)
        yield _window(held, row, (start, stop), target)
        if stop == end:
            return


def _window(held: Read, row: int, part: tuple[int, int], target: tuple[int, int] | None) -> Window:
    (begin, end), (start, stop) = held.inside, part
    chosen = np.r_[0:begin, start:stop, end : len(held.ids)]
    places_T2 = np.full((len(chosen), 2), OUTSIDE, dtype=np.int32)
    places_T2[begin : begin + stop - start] = held.spans[start:stop]
    null = held.null if held.null < begin else held.null - (end - begin) + (stop - start)
    whole = target is not None and start <= target[0] and target[1] < stop
    answer = (target[0] - start + begin, target[1] - start + begin) if target and whole else (null, null)
    return Window(row, held.ids[chosen], held.types[chosen], places_T2[:, 0], places_T2[:, 1], answer, null)


def _tokens(held: Read, answer: tuple[int, int]) -> tuple[int, int] | None:
    """First and last token, in the whole row, of letters from answer[0] up to answer[1]; None where no token covers one of them."""
    begin, end = held.inside
    first = begin + int(np.searchsorted(held.spans[begin:end, 1], answer[0], side="right"))
    last = begin + int(np.searchsorted(held.spans[begin:end, 0], answer[1], side="left")) - 1
    return (first, last) if begin <= first <= last < end else None


class Best(NamedTuple):
    """Of each window [B]: first and last token of its best span, that span's score, logsumexp over all spans', and the score of none."""

    first: Tensor
    last: Tensor
    score: Tensor
    every: Tensor
    null: Tensor


def best(start_BT: Tensor, end_BT: Tensor, inside_BT: Tensor, *, null_B: Tensor, most: int) -> Best:
    """The best of all spans inside the passage of at most `most` tokens. A span's score is the sum of its start's and its end's."""
    start, end = (scores.masked_fill(~inside_BT, NEVER) for scores in (start_BT, end_BT))
    padded = torch.nn.functional.pad(end, (0, most - 1), value=NEVER)
    scores_BTL = start[:, :, None] + padded.unfold(1, most, 1)
    flat = scores_BTL.flatten(1)
    score_B, place_B = flat.max(1)
    first_B = place_B // most
    rows_B = torch.arange(len(start_BT), device=start_BT.device)
    none_B = start_BT[rows_B, null_B] + end_BT[rows_B, null_B]
    every_B = flat.logsumexp(1).clamp(min=NEVER)
    return Best(first_B, first_B + place_B % most, score_B.clamp(min=NEVER), every_B, none_B)


def normalised(text: str) -> str:
    """As SQuAD compares answers: lower case, without punctuation and the articles a, an, the, blanks collapsed."""
    letters = "".join(letter for letter in text.lower() if letter not in _MARKS)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def exact(said: str, golds: Sequence[str]) -> float:
    """1 where the answer is one of the true ones after normalising; no answer is ""."""
    return float(any(normalised(said) == normalised(gold) for gold in _told(golds)))


def overlap(said: str, golds: Sequence[str]) -> float:
    """The best F1 over words that the answer has with a true one; where either has no word, whether both have none."""
    return max(_f1(normalised(said).split(), normalised(gold).split()) for gold in _told(golds))


def _told(golds: Sequence[str]) -> Sequence[str]:
    return [gold for gold in golds if normalised(gold)] or [""]


def _f1(said: list[str], gold: list[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    shared = sum((Counter(said) & Counter(gold)).values())
    return 2 * shared / (len(said) + len(gold))


def figures(judged: Mapping[str, np.ndarray], names: Collection[str] | None = None) -> dict[str, float]:
    """Means over rows of F1 and exact match; where some have no answer, also of either kind alone; log loss in nats a window."""
    made = tallied(judged, [name for name in _FIGURES if _known(judged, name) and (names is None or name in names)])
    return made.whole() if made else {}


def tallied(judged: Mapping[str, np.ndarray], names: Collection[str]) -> Tally | None:
    """The same of many sets of rows."""
    has_N = judged["answerable"].astype(np.float64)
    columns = {name: judged[name] for name in ("f1", "exact_match", "loss", "items") if name in judged} | {
        "has": has_N,
        "lacks": 1 - has_N,
        "f1 of has": judged["f1"] * has_N,
        "exact_match of has": judged["exact_match"] * has_N,
        "exact_match of lacks": judged["exact_match"] * (1 - has_N),
    }
    known = {name: made for name, made in _FIGURES.items() if _known(judged, name)}
    has, lacks = int(has_N.sum()), int((1 - has_N).sum())
    go_by = {"no_answer_accuracy": lacks, "answerable_f1": has, "answerable_exact_match": has}
    return tally(names, known, lambda counts_RN: Sums(columns, counts_RN), rows=len(has_N), go_by=go_by)


def _known(judged: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether there is what a figure goes by: what is of one kind of rows alone is told where there are rows without an answer."""
    if name == "log_loss":
        return "loss" in judged
    return name in ("f1", "exact_match") or not judged["answerable"].all()


_FIGURES: Mapping[str, Callable[[Sums], np.ndarray]] = {
    "f1": lambda sums: sums.mean("f1"),
    "exact_match": lambda sums: sums.mean("exact_match"),
    "no_answer_accuracy": lambda sums: sums.share("exact_match of lacks", "lacks"),
    "answerable_f1": lambda sums: sums.share("f1 of has", "has"),
    "answerable_exact_match": lambda sums: sums.share("exact_match of has", "has"),
    "log_loss": lambda sums: sums.share("loss", "items"),
}
