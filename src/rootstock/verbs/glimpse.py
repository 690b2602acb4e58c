"""What a model reads of some rows: each token as its vocabulary spells it, and which of them are asked.

Shape letters: T tokens of a row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rootstock import catalog
from rootstock.core.errors import UsageError
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, PART, ROW, Encoded, column
from rootstock.data.looks import shorten
from rootstock.run import labelled_pictures, several
from rootstock.run.prepared import LabelledRows

_READ = {"input_ids": "asked", "pair_ids": "pair_asked", "negative_ids": "", "targets": ""}
"""Columns of token ids, and those that tell which are asked."""
_CALLED = {"input_ids": "reads", "pair_ids": "the other", "negative_ids": "negative", "targets": "writes"}
_MOST = 200
"""Tokens of a row that are printed."""


def check(recipe: Recipe) -> None:
    """Raise UsageError, before a row is read, where rows have no tokens of their own that could be printed."""
    name = recipe.task.get("name", "auto")
    if several.meant(recipe):
        found = "the rows are of several tasks"
    elif name != "auto" and issubclass(catalog.find("tasks", name), Objective):
        found = f"{name} makes its rows of the texts anew in each pass"
    elif labelled_pictures.meant(recipe):
        found = "the rows are images"
    else:
        return
    raise UsageError(f"tokens are asked for, and {found}", wanted="labelled rows of texts for one task", fix="leave --show out")


def glimpse(prepared: LabelledRows, count: int) -> list[dict[str, Any]]:
    """Of the first `count` training rows as they are learned from: pairs of a token and whether it is asked, by what they are of."""
    encoded, rows = prepared.encoded, prepared.learned.slice(0, count)
    part_P = encoded.dense.get(PART, np.arange(len(encoded)))
    places, labels = column(rows, ROW), [shorten(str(label)) for label in column(rows, LABEL)]
    return [
        {"row": places[row], "label": labels[row], "read": _read(encoded, number, prepared)}
        for number, row in enumerate(part_P[: np.searchsorted(part_P, len(rows))].tolist())
    ]


def _read(encoded: Encoded, number: int, prepared: LabelledRows) -> dict[str, list[tuple[str, bool]]]:
    found = {}
    for name in _READ:
        if name in encoded.tokens:
            ids_T = encoded.tokens[name].part(number, number + 1).flat
            words = prepared.tokenizer.convert_ids_to_tokens(ids_T.tolist())
            found[name] = list(zip(words, _asked(encoded, number, name, len(ids_T)).tolist(), strict=True))
    return found


def _asked(encoded: Encoded, number: int, name: str, count: int) -> np.ndarray:
    """Which tokens the loss is of: written ones, the first of each tagged word, or of a span. None where the row as a whole is."""
    asked_T = np.full(count, name == "targets")
    if (marks := _READ[name]) in encoded.tokens:
        asked_T = encoded.tokens[marks].part(number, number + 1).flat > 0
    elif name == "input_ids" and "tags" in encoded.tokens:
        first_W = encoded.tokens["firsts"].part(number, number + 1).flat
        asked_T[first_W[first_W >= 0]] = True
    elif "begins" in encoded.tokens and "labels" in encoded.dense:
        first, last = encoded.dense["labels"][number].tolist()
        asked_T[first : last + 1] = True
    return asked_T


def as_text(shown: Sequence[dict[str, Any]]) -> list[str]:
    """Lines for a person: what is asked stands between « and »."""
    lines = []
    for each in shown:
        lines.append(f"row {each['row']}, {each['label']}")
        lines += [f"  {_CALLED[name]:<15}{len(tokens):,} tokens: {_marked(tokens)}" for name, tokens in each["read"].items()]
    asked = any(asked for each in shown for tokens in each["read"].values() for _, asked in tokens)
    return [*lines, "«…» is asked: the loss is of these tokens alone" if asked else "each row has one answer as a whole"]


def _marked(tokens: Sequence[tuple[str, bool]]) -> str:
    words, before = [], False
    for (word, asked), (_, after) in zip(tokens, [*tokens[1:], ("", False)], strict=True):
        words.append(f"{'«' if asked and not before else ''}{word}{'»' if asked and not after else ''}")
        before = asked
    return " ".join(words[:_MOST]) + (f" … {len(words) - _MOST:,} more" if len(words) > _MOST else "")
