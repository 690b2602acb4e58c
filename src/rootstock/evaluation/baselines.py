"""What a model has to beat: always the same answer, and a linear model on counted words.

Shape letters: N rows, C classes, V words, W words of the longest row.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rootstock.core.rows import CHOICES, LABEL, PAIR, PIXELS, REJECTED, TEXT, WORDS, Columns, boxed, column
from rootstock.core.task import Labelled

_SIDE, _MOST_PICTURES = 8, 5000
"""Pixels to a side of a thumbnail, and how many a linear model learns from at most, evenly drawn: more take minutes and add a point."""
_MANY_ROWS = 1000
"""From here on a word must occur in two rows: the others fill most columns and teach nothing."""


class Baselines(NamedTuple):
    """Predictions on the validation rows under "majority" and "tfidf", and why one of them is missing."""

    columns: dict[str, Columns]
    left_out: dict[str, str]


class _Fitted(NamedTuple):
    """Features and answers of the training rows, and the features to answer for."""

    train: Any
    answers: np.ndarray
    validation: Any
    classes: int


def baselines(train: pa.Table, validation: pa.Table, task: Labelled) -> Baselines:
    """Both baselines fitted on the training rows; the same input gives the same numbers. Odd input leaves one out with a reason."""
    if not len(train) or not len(validation):
        reason = f"{len(train)} training and {len(validation)} validation rows"
        return Baselines({}, {"majority": reason, "tfidf": reason})
    if own := _OWN.get(task.kind):
        return own(train, validation, task)
    if task.kind not in _CONSTANT:
        return Baselines({}, {"majority": "no simple answer suits this task", "tfidf": "no linear model suits this task"})
    answers, truth = task.answers(train), task.answers(validation)
    classes = int(task.head().options.get("num_labels", 1))
    found: dict[str, Columns] = {"majority": {"scores": _CONSTANT[task.kind](answers, len(truth), classes), "answers": truth}}
    if PIXELS in train.column_names:
        some = slice(None, None, -(-len(train) // _MOST_PICTURES))
        seen = _Fitted(_thumbnails(train)[some], answers[some], _thumbnails(validation), classes)
        found["pixels"] = {"scores": _probabilities(seen), "answers": truth}
        return Baselines(found, {})
    features = _features(train, validation)
    if features is None:
        return Baselines(found, {"tfidf": "the training texts hold no words to count"})
    found["tfidf"] = {"scores": _LINEAR[task.kind](_Fitted(features[0], answers, features[1], classes)), "answers": truth}
    return Baselines(found, {})


def untrained(known: Mapping[str, Any], rows: pa.Table, task: Labelled) -> dict[str, Columns]:
    """Those that need no training row, by what a ledger tells of the labels that were learned from: how many of each, or their mean."""
    truth, count, found = task.answers(rows), len(rows), dict[str, np.ndarray]()
    counts = np.array([known.get(name, 0) for name in getattr(task, "labels", ())])
    if task.kind == "class" and counts.any():
        found["majority"] = _shares(np.repeat(np.arange(len(counts)), counts), count, len(counts))
    elif task.kind == "number" and "mean" in known:
        found["majority"] = np.full((count, 1), float(known["mean"]))
    elif task.kind == "tags" and counts.any():
        found["majority"] = np.where(truth >= 0, int(counts.argmax()), -1)
    elif task.kind == "span":
        found["sentence"] = _sentences(rows)
        found |= {"majority": np.full((count, 2), -1, np.int32)} if known.get("no answer") else {}
    elif task.kind == "choice":
        found["words"] = _shared_words(rows)
    elif task.kind == "text":
        found["copy"] = boxed(_texts(rows, TEXT))
    return {name: {"scores": scores, "answers": truth} for name, scores in found.items()}


def _by_length(train: pa.Table, validation: pa.Table) -> np.ndarray:
    """Whether length alone tells the better answer, [N] in 0, 0.5 (as long) and 1: the longer one, or the shorter if training says so."""
    longer, right = (np.sign([len(str(a)) - len(str(b)) for a, b in _answers(rows)]) for rows in (train, validation))
    return np.asarray((1 + (1.0 if longer.sum() >= 0 else -1.0) * right) / 2)


def _copied(train: pa.Table, validation: pa.Table, task: Labelled) -> Baselines:
    """The source as it is."""
    return Baselines(untrained({}, validation, task), {})


def _longer(train: pa.Table, validation: pa.Table, task: Labelled) -> Baselines:
    """The longer answer, or the shorter."""
    return Baselines({"length": {"scores": _by_length(train, validation), "answers": task.answers(validation)}}, {})


def _answers(rows: pa.Table) -> Iterator[tuple[Any, Any]]:
    return zip(column(rows, LABEL), column(rows, REJECTED), strict=True)


def _tags(train: pa.Table, validation: pa.Table, task: Labelled) -> Baselines:
    """Always the most frequent tag; and each word's most frequent one, which for words that training never showed is the former."""
    answers_NW, truth_NW = task.answers(train), task.answers(validation)
    most = int(np.bincount(answers_NW[answers_NW >= 0]).argmax())
    counts: dict[str, Counter[int]] = {}
    for words, tags in zip(column(train, WORDS), answers_NW.tolist(), strict=True):
        for word, tag in zip(words, tags, strict=False):
            counts.setdefault(word, Counter())[tag] += 1
    known = {word: max(sorted(found), key=lambda tag: found[tag]) for word, found in counts.items()}
    told_NW = np.where(truth_NW >= 0, most, -1)
    for row, words in enumerate(column(validation, WORDS)):
        told_NW[row, : len(words)] = [known.get(word, most) for word in words]
    majority_NW = np.where(truth_NW >= 0, most, -1)
    return Baselines({"majority": {"scores": majority_NW, "answers": truth_NW}, "dictionary": {"scores": told_NW, "answers": truth_NW}}, {})


_BREAK = re.compile(r"(?<=[.!?])\s+|(?<=[。！？।])\s*|\s*\n\s*")
"""Between two sentences."""
_WORD = re.compile(r"\w+")


def _spans(train: pa.Table, validation: pa.Table, task: Labelled) -> Baselines:
    """The passage's first sentence that holds most different words of the question; and no answer, where training rows have none."""
    lacking = sum(not label for label in column(train, LABEL))
    return Baselines(untrained({"no answer": lacking}, validation, task), {})


def _sentences(rows: pa.Table) -> np.ndarray:
    spans_N2 = [_likest(*both) for both in zip(column(rows, TEXT), column(rows, PAIR), strict=True)]
    return np.array(spans_N2, np.int32).reshape(-1, 2)


def _choices(train: pa.Table, validation: pa.Table, task: Labelled) -> Baselines:
    """The place that is right most often; and the choice with most different words of question and passage, the first of them."""
    place, choices = int(np.bincount(task.answers(train)).argmax()), column(validation, CHOICES)
    always_NC = _chosen([min(place, len(own) - 1) for own in choices], choices)
    return Baselines({"majority": {"scores": always_NC, "answers": task.answers(validation)}, **untrained({}, validation, task)}, {})


def _shared_words(rows: pa.Table) -> np.ndarray:
    """1 for the choice with most different words of question and passage, the first of them, [N, C]."""
    texts, choices = [column(rows, name) for name in (TEXT, PAIR) if name in rows.column_names], column(rows, CHOICES)
    asked = [set(_WORD.findall(" ".join(each).casefold())) for each in zip(*texts, strict=True)]
    shared = [
        [len(words.intersection(_WORD.findall(choice.casefold()))) for choice in own] for words, own in zip(asked, choices, strict=True)
    ]
    return _chosen([int(np.argmax(counts)) for counts in shared], choices)


def _chosen(places: list[int], choices: list[list[str]]) -> np.ndarray:
    made_NC = np.zeros((len(places), max(map(len, choices), default=0)))
    made_NC[np.arange(len(places)), places] = 1
    return made_NC


def _likest(question: str, passage: str) -> tuple[int, int]:
    """First letter of a sentence and the one behind its last."""
    asked = set(_WORD.findall(question.casefold()))
    cuts = [0, *(each.end() for each in _BREAK.finditer(passage)), len(passage)]
    return max(pairwise(cuts), key=lambda span: len(asked.intersection(_WORD.findall(passage[span[0] : span[1]].casefold()))))


def _shares(answers_N: np.ndarray, rows: int, classes: int) -> np.ndarray:
    """The classes' shares in training, [N, C]: the most frequent one wins, and its confidence is an honest one."""
    return np.tile(np.bincount(answers_N.astype(np.int64), minlength=classes) / len(answers_N), (rows, 1))


def _most_frequent_set(answers_NC: np.ndarray, rows: int, classes: int) -> np.ndarray:
    sets, counts = np.unique(answers_NC, axis=0, return_counts=True)
    return np.tile(sets[counts.argmax()].astype(np.float64), (rows, 1))


def _mean(answers_N: np.ndarray, rows: int, classes: int) -> np.ndarray:
    return np.full((rows, 1), answers_N.mean(dtype=np.float64))


_CONSTANT = {"class": _shares, "classes": _most_frequent_set, "number": _mean}


def _features(train: pa.Table, validation: pa.Table) -> tuple[Any, Any] | None:
    """TF-IDF rows of both tables, [N, V]; None where the training texts hold no word.

    One text is counted in words and word pairs. Two texts are counted in words (with word pairs the correlation on STS-B falls by 0.03).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = [name for name in (TEXT, PAIR) if name in train.column_names]
    words = TfidfVectorizer(
        ngram_range=(1, 2) if len(names) == 1 else (1, 1),
        min_df=2 if len(train) >= _MANY_ROWS else 1,
        token_pattern=r"(?u)\b\w+\b",  # single letters and digits are words too
        sublinear_tf=True,
        dtype=np.float32,
    )
    try:
        trained = words.fit_transform([text for name in names for text in _texts(train, name)])
    except ValueError as error:
        if "empty vocabulary" not in str(error) and "no terms remain" not in str(error).lower():
            raise
        return None
    asked = words.transform([text for name in names for text in _texts(validation, name)])
    return _by_row(trained, len(names)), _by_row(asked, len(names))


def _thumbnails(table: pa.Table) -> np.ndarray:
    """Images of 8 × 8 pixels (fewer where they are smaller) as rows of numbers around 0, [N, V]."""
    pixels_NHWC: np.ndarray = table.column(PIXELS).combine_chunks().to_numpy_ndarray()
    count, side = pixels_NHWC.shape[:2]
    cell = -(-side // _SIDE)
    kept = pixels_NHWC[:, : side // cell * cell, : side // cell * cell].reshape(count, side // cell, cell, side // cell, cell, 3)
    made_NV: np.ndarray = (kept.mean((2, 4), dtype=np.float32).reshape(count, -1) - 128) / 64
    return made_NV


def _texts(table: pa.Table, name: str) -> list[str]:
    return [text or "" for text in column(table, name)]


def _by_row(stacked: Any, texts: int) -> Any:
    """First texts above second ones become one row a pair: both, what they share, where they differ, and their cosine.

    A linear model can neither multiply nor compare by itself.
    """
    if texts == 1:
        return stacked
    from scipy import sparse

    first, second = stacked[: stacked.shape[0] // 2], stacked[stacked.shape[0] // 2 :]
    shared = first.multiply(second).tocsr()
    return sparse.hstack([first, second, shared, abs(first - second), sparse.csr_matrix(shared.sum(axis=1))], format="csr")


def _probabilities(fitted: _Fitted) -> np.ndarray:
    """Softmax regression; classes that training never showed get 0, [N, C]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scores_NC = np.zeros((fitted.validation.shape[0], fitted.classes))
    seen = np.unique(fitted.answers).astype(np.int64)
    if len(seen) == 1:
        scores_NC[:, seen[0]] = 1
        return scores_NC
    # On 10,000 rows of 77 classes sag takes 0.6 s where lbfgs takes 4.7 s, at the same accuracy, and it starts no threads.
    model = LogisticRegression(C=4.0, solver="sag", tol=1e-2, max_iter=200, random_state=0)
    with warnings.catch_warnings():
        # Rows that are separable have no optimum to reach: the answers are settled long before the weights.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(fitted.train, fitted.answers.astype(np.int64))
    scores_NC[:, seen] = model.predict_proba(fitted.validation)
    return scores_NC


def _each_label(fitted: _Fitted) -> np.ndarray:
    """One yes/no model a label, [N, C]."""
    columns = [_probabilities(_Fitted(fitted.train, answers_N, fitted.validation, 2))[:, 1] for answers_N in fitted.answers.T]
    return np.stack(columns, axis=1)


def _number(fitted: _Fitted) -> np.ndarray:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=3.0).fit(fitted.train, fitted.answers.astype(np.float32))
    return np.asarray(model.predict(fitted.validation), np.float64).reshape(-1, 1)


_LINEAR = {"class": _probabilities, "classes": _each_label, "number": _number}
_OWN = {"tags": _tags, "span": _spans, "choice": _choices, "text": _copied, "preference": _longer}
