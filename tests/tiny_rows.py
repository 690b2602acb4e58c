"""Rows that a task can learn from, told by the kind of its answers: what the tests over the whole catalogue use."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from rootstock.core.seed import Draw
from tests import tiny_models
from tests.conftest import make_tokenizer, rows_of

COUNT = 12
TEXTS = [text for text, _ in rows_of(COUNT)]
WORDS = [text.split() for text in TEXTS]


def _labels():
    return {"label": [label for _, label in rows_of(COUNT)]}


def _numbers():
    return {"label": [float(i % 5) for i in range(COUNT)]}


def _tags():
    return {"words": WORDS, "label": [["B-long" if len(word) > 4 else "O" for word in words] for words in WORDS]}


def _texts():
    return {"label": [" ".join(reversed(words)) for words in WORDS]}


def _pairs():
    return {"label": [f"{text} good" for text in TEXTS], "rejected": [f"{text} bad" for text in TEXTS]}


_MORE = {
    "completion": _texts,
    "preference": _pairs,
    "text": _texts,
    "class": _labels,
    "classes": _labels,
    "number": _numbers,
    "tags": _tags,
}


def table(task):
    """Twelve rows for a task (its class) with canonical columns."""
    return pa.table({"text": TEXTS, **_MORE[task().kind](), "row": list(range(1, COUNT + 1))})


_BASES = {
    "AutoModelForSeq2SeqLM": lambda: tiny_models.seq2seq_model(strength=1.0),
    "AutoModelForCausalLM": lambda: tiny_models.causal_model(strength=0.1),
}


def base(task, usual, folder):
    """A tiny base of the kind that the task's head takes; the usual one is an encoder."""
    make = _BASES.get(task.head().auto)
    return usual if make is None else tiny_models.saved(make(), make_tokenizer(), folder)


def known(task, model, encoded, tokenizer):
    """The rows with what the untouched base says of them, where the task asks for it."""
    if not task.asks_base:
        return encoded
    found = task.reference(model, task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(0)))
    return replace(encoded, dense={**encoded.dense, **found})
