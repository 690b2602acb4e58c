"""Rows that a task can learn from, told by the kind of its answers: what the tests over the whole catalogue use."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch

from rootstock.core.seed import Draw
from rootstock.methods.lora import LoRA
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


def _spans():
    """Answers of one or two words, and one row without any."""
    held = [words[i % 2 : i % 2 + 1 + i % 2] for i, words in enumerate(WORDS)]
    answers = [[] if i == 3 else [" ".join(words)] for i, words in enumerate(held)]
    starts = [[] if not each else [text.index(each[0])] for text, each in zip(TEXTS, answers, strict=True)]
    return {"text_pair": TEXTS, "text": ["a film"] * COUNT, "label": answers, "answer_starts": starts}


def _choices():
    """Two or three choices a row, the right one by its letter."""
    return {"choices": [[f"a {word}" for word in words[: 2 + i % 2]] for i, words in enumerate(WORDS)], "label": ["A", "B"] * (COUNT // 2)}


def _texts():
    return {"label": [" ".join(reversed(words)) for words in WORDS]}


def _pairs():
    return {"label": [f"{text} good" for text in TEXTS], "rejected": [f"{text} bad" for text in TEXTS]}


def _positives():
    return {"label": [" ".join(reversed(words[1:])) for words in WORDS]}


_MORE = {
    "class": _labels,
    "classes": _labels,
    "number": _numbers,
    "tags": _tags,
    "span": _spans,
    "choice": _choices,
    "text": _texts,
    "completion": _texts,
    "preference": _pairs,
    "retrieval": _positives,
}


def _pictures():
    """Bright images are "a", dark ones "b"."""
    shades = np.arange(COUNT * 8 * 8 * 3).reshape(COUNT, 8, 8, 3) * 37 % 100 + 120 * (np.arange(COUNT) % 2 == 0)[:, None, None, None]
    return {"pixels": pa.FixedShapeTensorArray.from_numpy_ndarray(shades.astype(np.uint8)), "label": ["a", "b"] * (COUNT // 2)}


def method(found, task):
    """A method of this class; where it adapts chosen modules of an image model, all of them, as none are known by name."""
    return found(targets=("all-linear",)) if task.reads == "images" and "targets" in found.model_fields else found()


@torch.no_grad()
def adapters(load, task, folder):
    """Two adapters over a base, as runs leave them, for what builds on such. load: loads the base from a seed."""
    for name in ("first", "second"):
        lora = method(LoRA, task)
        model = lora.apply(load(len(name)))
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
        lora.keep(model).save_pretrained(folder / name / "model")
    return (str(folder / "first"), str(folder / "second"))


def table(task):
    """Twelve rows for a task (its class) with canonical columns."""
    if task.reads == "images":
        return pa.table({"text": TEXTS, **_pictures(), "row": list(range(1, COUNT + 1))})
    return pa.table({"text": TEXTS, **_MORE[task().kind](), "row": list(range(1, COUNT + 1))})


_BASES = {
    "AutoModelForSeq2SeqLM": lambda: tiny_models.seq2seq_model(strength=1.0),
    "AutoModelForCausalLM": lambda: tiny_models.causal_model(strength=0.1),
}


def base(task, usual, folder):
    """A tiny base of the kind that the task's head takes; the usual one is an encoder of texts."""
    if task.reads == "images":
        return tiny_models.eye(folder)
    make = _BASES.get(task.head().auto)
    return usual if make is None else tiny_models.saved(make(), make_tokenizer(), folder)


def known(task, model, encoded, tokenizer):
    """The rows with what the untouched base says of them, where the task asks for it."""
    if not task.asks_base:
        return encoded
    found = task.reference(model, task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(0)))
    return replace(encoded, dense={**encoded.dense, **found})
