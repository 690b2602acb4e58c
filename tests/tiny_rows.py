"""Rows that a task can learn from, told by the kind of its answers: what the tests over the whole catalogue use."""

import pyarrow as pa

from tests.conftest import rows_of

COUNT = 12
TEXTS = [text for text, _ in rows_of(COUNT)]
WORDS = [text.split() for text in TEXTS]


def _labels():
    return {"label": [label for _, label in rows_of(COUNT)]}


def _numbers():
    return {"label": [float(i % 5) for i in range(COUNT)]}


def _tags():
    return {"words": WORDS, "label": [["B-long" if len(word) > 4 else "O" for word in words] for words in WORDS]}


_MORE = {"class": _labels, "classes": _labels, "number": _numbers, "tags": _tags}


def table(task):
    """Twelve rows for a task (its class) with canonical columns."""
    return pa.table({"text": TEXTS, **_MORE[task().kind](), "row": list(range(1, COUNT + 1))})
