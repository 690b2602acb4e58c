"""What tasks on words share: which token is a word's first, windows of long texts, and figures of tags that add up over rows.

Shape letters: N rows, W words of the longest row, T tokens of a row, P its windows, K kinds of what is counted: of entities, or the tags.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rootstock.core.rows import Columns
from rootstock.core.tally import Sums, Tally, ratio, tally
from rootstock.tasks import _classes

NONE, NO_WORD = -1, -2
"""A word that has no token (nothing that the tokenizer knows), and no word at all."""
_INSIDE = re.compile(r"O|[BIESLU]-.+")
_BILOU = {"L": "E", "U": "S"}
"""Its last and its only word as IOBES calls them, which alone seqeval knows."""
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """The words of a plain text: runs of letters and digits, and each other mark by itself."""
    return _WORD.findall(text)


def marks_entities(labels: Sequence[str]) -> bool:
    """Whether tags say where an entity begins and goes on, as in BIO and its relatives."""
    return any(label.startswith("B-") or label.startswith("I-") for label in labels) and all(map(_INSIDE.fullmatch, labels))


def first_tokens(offsets: Sequence[tuple[int, int]], words: Sequence[str]) -> np.ndarray:
    """The first token of each word of a text in which words stand with a blank between; NONE where it has none. [W]

    offsets: first letter of each token and the one behind its last; (0, 0) for a special token.
    """
    begin_W = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
    end_W = begin_W + np.array([len(word) for word in words], dtype=np.int64)
    spans_T2 = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    real_T = np.flatnonzero(spans_T2[:, 1] > spans_T2[:, 0])
    if not len(real_T):
        return np.full(len(words), NONE, dtype=np.int32)
    place_W = np.minimum(np.searchsorted(spans_T2[real_T, 1], begin_W, side="right"), len(real_T) - 1)
    token_W = real_T[place_W]
    inside_W = (spans_T2[token_W, 0] < end_W) & (spans_T2[token_W, 1] > begin_W)
    return np.where(inside_W, token_W, NONE).astype(np.int32)


class Window(NamedTuple):
    """A part of a text that is read alone. words: those that it answers. ids: its tokens. firsts: the first token of each of its words."""

    words: slice
    ids: np.ndarray
    firsts: np.ndarray


def windows(ids_T: np.ndarray, inside: tuple[int, int], firsts_W: np.ndarray, *, length: int | None, stride: int) -> Iterator[Window]:
    """A text in windows of at most `length` tokens, neighbours sharing `stride`; as transformers' tokenizers cut it.

    inside: its first token that is no special one, and the one behind its last: what stands around goes into each window.
    Each word is answered once, where it stands further from the window's end: neighbours part in the middle of what they share.
    """
    begin, end = inside
    room = len(ids_T) if length is None else length - (len(ids_T) - (end - begin))
    if len(ids_T) <= (length or len(ids_T)) or room < 1:
        yield Window(slice(0, len(firsts_W)), ids_T[:length], np.where(firsts_W < len(ids_T[:length]), firsts_W, NONE))
        return
    shared = min(stride, room // 2)
    starts_P = np.arange(begin, max(end - shared, begin + 1), room - shared)
    ends_P = np.minimum(starts_P + room, end)
    owner_W = np.searchsorted((starts_P[1:] + ends_P[:-1] + 1) // 2, np.maximum.accumulate(np.maximum(firsts_W, begin)), side="right")
    for number, (start, stop) in enumerate(zip(starts_P.tolist(), ends_P.tolist(), strict=True)):
        first, last = np.searchsorted(owner_W, (number, number + 1)).tolist()
        if first == last and (len(firsts_W) or number):
            continue  # a word of more tokens than a window has is answered by its first
        own_W = firsts_W[first:last]
        yield Window(
            slice(first, last), ids_T[np.r_[0:begin, start:stop, end : len(ids_T)]], np.where(own_W < 0, NONE, own_W - start + begin)
        )


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Tags of rows as one array [N, W], NO_WORD behind each."""
    made_NW = np.full((len(rows), max(map(len, rows), default=0)), NO_WORD, dtype=np.int16)
    for row, tags in zip(made_NW, rows, strict=True):
        row[: len(tags)] = tags
    return made_NW


def counted(columns: Columns, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Of each row: found, predicted and answered things of each kind [N, K], words [N] and how many of them are right [N].

    A thing is an entity, by seqeval's reading of the tags, where these mark entities; else it is a word with its tag.
    """
    scores_NW, answers_NW = (np.asarray(columns[name]) for name in ("scores", "answers"))
    told_NW = np.full_like(answers_NW, NO_WORD)
    width = min(scores_NW.shape[1], answers_NW.shape[1])
    told_NW[:, :width] = scores_NW[:, :width]
    word_NW = answers_NW >= 0
    found = _entities(told_NW, answers_NW, labels) if marks_entities(labels) else _single(told_NW, answers_NW, len(labels))
    return {**found, "right": ((told_NW == answers_NW) & word_NW).sum(1), "words": word_NW.sum(1)}


def kinds(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of what is counted: kinds of entities, or the tags."""
    return tuple(sorted({label[2:] for label in labels if label != "O"})) if marks_entities(labels) else tuple(labels)


def _single(told_NW: np.ndarray, answers_NW: np.ndarray, count: int) -> dict[str, np.ndarray]:
    def held(tags_NW: np.ndarray, chosen_NW: np.ndarray) -> np.ndarray:
        row_M, column_M = np.nonzero(chosen_NW)
        flat = np.bincount(row_M * count + tags_NW[row_M, column_M], minlength=len(tags_NW) * count)
        return flat.reshape(len(tags_NW), count)

    word_NW = answers_NW >= 0
    told = word_NW & (told_NW >= 0)
    return {
        "hits": held(answers_NW, word_NW & (told_NW == answers_NW)),
        "predicted": held(told_NW, told),
        "answered": held(answers_NW, word_NW),
    }


def _entities(told_NW: np.ndarray, answers_NW: np.ndarray, labels: Sequence[str]) -> dict[str, np.ndarray]:
    from seqeval.metrics.sequence_labeling import get_entities

    place = {kind: number for number, kind in enumerate(kinds(labels))}
    made = {name: np.zeros((len(answers_NW), len(place)), dtype=np.int64) for name in ("hits", "predicted", "answered")}
    known = [_BILOU.get(label[0], label[0]) + label[1:] for label in labels]

    def entities(tags_W: np.ndarray) -> set[tuple[str, int, int]]:
        return set(get_entities([known[tag] if tag >= 0 else "O" for tag in tags_W.tolist()]))

    for row, (told_W, answers_W) in enumerate(zip(told_NW, answers_NW, strict=True)):
        word_W = answers_W >= 0
        told, answered = entities(told_W[word_W]), entities(answers_W[word_W])
        for name, things in (("hits", told & answered), ("predicted", told), ("answered", answered)):
            for kind, _, _ in things:
                made[name][row, place[kind]] += 1
    return made


def figures(judged: Mapping[str, np.ndarray], names: Collection[str] | None = None) -> dict[str, float]:
    """Micro-averaged precision, recall and F1, macro F1, accuracy of words, and log loss (nats a word) where it is known.

    Kinds that are neither answered nor predicted have no figure; without any word there is none at all.
    """
    made = tallied(judged, [name for name in _FIGURES if _known(judged, name) and (names is None or name in names)])
    return made.whole() if made else {}


def tallied(judged: Mapping[str, np.ndarray], names: Collection[str]) -> Tally | None:
    """The same of many sets of rows, with those of each kind by their places in `per_kind`."""
    known = {name: made for name, made in _FIGURES.items() if _known(judged, name)}
    there = {name: judged[name].any(1) for name in _THINGS}
    sides = {"precision": there["predicted"], "recall": there["answered"], "f1": there["predicted"] | there["answered"]}
    go_by = {name: int(rows_N.sum()) for name, rows_N in sides.items()}
    if any("/" in name for name in names):
        known |= _classes.class_figures(judged["hits"].shape[1], _counts)
        go_by |= _classes.class_rows(_classes.Counts(*((judged[name] > 0).sum(0) for name in _THINGS)))
    return tally(names, known, lambda counts_RN: Sums(judged, counts_RN), rows=len(judged["words"]), go_by=go_by)


def per_kind(judged: Mapping[str, np.ndarray], names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each kind, as a report draws them."""
    return _classes.table_json(_classes.Counts(*(judged[name].sum(0) for name in _THINGS)).table, names)


def _known(judged: Mapping[str, np.ndarray], name: str) -> bool:
    return name != "log_loss" or "loss" in judged


def _counts(sums: Sums) -> _classes.Counts:
    return _classes.Counts(*(sums(name) for name in _THINGS))


def _all(sums: Sums, below: str) -> np.ndarray:
    """Things found by all that were predicted or answered: 0 without any, NaN where there is nothing of either side."""
    either_R = (sums("predicted") + sums("answered")).sum(1)
    return np.where(either_R > 0, np.nan_to_num(ratio(sums("hits").sum(1), sums(below).sum(1))), np.nan)


def _macro(sums: Sums) -> np.ndarray:
    counts = _counts(sums)
    return counts.macro(counts.table.f1)


_THINGS = ("hits", "predicted", "answered")
_FIGURES: Mapping[str, Callable[[Sums], np.ndarray]] = {
    "accuracy": lambda sums: sums.share("right", "words"),
    "f1": lambda sums: _counts(sums).micro(),
    "precision": lambda sums: _all(sums, "predicted"),
    "recall": lambda sums: _all(sums, "answered"),
    "macro_f1": _macro,
    "log_loss": lambda sums: sums.share("loss", "items"),
}
