"""Training rows with more made of them; validation rows never see it."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.bases.load import embeddings
from rootstock.bases.resolve import Resolved
from rootstock.core.augment import Augmentation, Means
from rootstock.core.errors import RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import TEXT, column
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data.looks import shorten

_NEAR, _LEAST = 8, 0.4
"""Most near words of a word, and the least cosine of their embeddings."""
_BEGINS = ("Ġ", "▁", "")
"""How tokenizers mark the beginning of a word: GPT-2's, SentencePiece's; WordPiece marks all that is none."""


WHOLE = ("class", "classes", "number")
"""Kinds of answers that are of a text as a whole, so that a word more or less leaves them true."""


def check(recipe: Recipe, task: Labelled) -> None:
    """Raise RecipeError where changed words would spoil the labels."""
    if recipe.augment is not None and (task.kind not in WHOLE or task.reads != "texts"):
        name = recipe.task.get("name", "auto")
        found = f"augment changes words, and the answers{'' if name == 'auto' else f' of {name}'} belong to the words as they are"
        raise RecipeError(found, wanted="a task whose answers are of whole texts", fix="leave augment out")


def more_rows(recipe: Recipe, rows: pa.Table, base: Resolved, tokens: Callable[[], Any], say: Say) -> pa.Table | None:
    """The rows that an augmentation makes of these, which bring their labels; None where the recipe asks for none."""
    if recipe.augment is None:
        return None
    settings = dict(recipe.augment)
    name = settings.pop("name", "")
    how: Augmentation = catalog.find("augment", name).build(settings, "augment")
    texts = column(rows, TEXT)
    made = how.made(texts, Means(near=cache(partial(_near, _Vocabulary(base, tokens))), seed=recipe.seed))
    place = rows.column_names.index(TEXT)
    grown = rows.take(pa.array(np.repeat(np.arange(len(rows)), how.copies)))
    changed = next((i for i, text in enumerate(made) if text != texts[i // how.copies]), 0)
    example = f"{shorten(made[changed], 50)!r} of {shorten(texts[changed // how.copies], 50)!r}"
    say(f"augment   {name}: {len(rows):,} training rows become {len(rows) + len(grown):,}, such as {example}")
    return grown.set_column(place, TEXT, pa.array(made, pa.string()))


class _Vocabulary:
    """A base's words with their embeddings, read when first asked."""

    def __init__(self, base: Resolved, tokens: Callable[[], Any]) -> None:
        self._base, self._tokens = base, tokens
        self._read: tuple[dict[str, int], list[str], np.ndarray] | None = None

    def read(self) -> tuple[dict[str, int], list[str], np.ndarray]:
        """Numbers of words, the words, and their embeddings of length one, [V, H]."""
        if self._read is None:
            ids = self._tokens().get_vocab()
            marked = any(token.startswith(_BEGINS[:2]) for token in ids)
            words: dict[str, int] = {}
            for token, number in ids.items():
                word = token[1:] if marked and token.startswith(_BEGINS[:2]) else "" if marked else token
                if word.isalpha() and len(word) > 2:
                    words.setdefault(word, number)
            table_VH = embeddings(self._base)[list(words.values())]
            length_V1 = np.linalg.norm(table_VH, axis=1, keepdims=True)
            self._read = {word: place for place, word in enumerate(words)}, list(words), table_VH / np.maximum(length_V1, 1e-12)
        return self._read


def _near(vocabulary: _Vocabulary, word: str) -> Sequence[str]:
    """Words whose embeddings lie closest to a word's, which must be one token."""
    place, words, table_VH = vocabulary.read()
    at = place.get(word, place.get(word.casefold()))
    if at is None:
        return ()
    cosine_V = table_VH @ table_VH[at]
    nearest = np.argsort(-cosine_V, kind="stable")[: _NEAR + 1]
    return [words[i] for i in nearest.tolist() if i != at and cosine_V[i] >= _LEAST]


def counted(account: dict[str, Any], more: pa.Table | None, alone: pa.Table | None) -> dict[str, Any]:
    """A ledger that also tells of rows that were made, and of those whose label a teacher gave; limits are of the user's own rows."""
    rows = dict(account["rows"])
    if alone is not None:
        rows |= {"read": rows["read"] + len(alone), "taught": len(alone)}
    if more is not None:
        rows["made"] = len(more)
    return {**account, "rows": rows}
