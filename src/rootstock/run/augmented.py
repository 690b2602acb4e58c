"""Training rows with more made of them; validation rows never see it."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.bases.load import embeddings
from rootstock.bases.resolve import Resolved
from rootstock.core.augment import Augmentation, Means, Write, Writing
from rootstock.core.errors import RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import TEXT, column
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data.looks import shorten

_NEAR, _LEAST = 8, 0.4
"""Most near words of a word, and the least cosine of their embeddings."""
_BEGINS = ("Ġ", "▁")
"""How tokenizers mark the beginning of a word: GPT-2's, SentencePiece's; WordPiece marks all that is none."""
WHOLE = ("class", "classes", "number")
"""Kinds of answers that are of a text as a whole, so that a word more or less leaves them true."""


def check(recipe: Recipe, task: Labelled) -> None:
    """Raise RecipeError where changed words would spoil the labels."""
    if recipe.augment is not None and (task.kind not in WHOLE or task.reads != "texts"):
        name = recipe.task.get("name", "auto")
        found = f"augment changes words, and the answers{'' if name == 'auto' else f' of {name}'} belong to the words as they are"
        raise RecipeError(found, wanted="a task whose answers are of whole texts", fix="leave augment out")


class Made(NamedTuple):
    """Rows that were made, None where there are none, and how many were left out as they said nothing new."""

    rows: pa.Table | None = None
    lost: int = 0


def nobody(writing: Writing, texts: Sequence[str]) -> list[str]:
    """Who writes where no model may."""
    raise RecipeError(f"{writing.key} is set, and no model writes here", wanted="`adapt` or `run`", fix="leave augment out")


def more_rows(recipe: Recipe, rows: pa.Table, near: Callable[[str], Sequence[str]], write: Write, say: Say) -> Made:
    """The rows that an augmentation makes of these, which bring their labels; none where the recipe asks for none.

    Of ways that may leave a text as it is, what says nothing new is left out and counted, blanks and case aside.
    """
    if recipe.augment is None:
        return Made()
    settings = dict(recipe.augment)
    name = settings.pop("name", "")
    how: Augmentation = catalog.find("augment", name).build(settings, "augment")
    texts = column(rows, TEXT)
    made = how.made(texts, Means(near=near, write=write, seed=recipe.seed))
    new = _new(texts, made, how.copies) if how.only_new else list(range(len(made)))
    lost = f"; {len(made) - len(new):,} of {len(made):,} said nothing new and are left out" if len(new) < len(made) else ""
    if not new:
        say(f"augment   {name}: no row is new{lost}")
        return Made(None, len(made))
    shown = next((place for place in new if made[place] != texts[place // how.copies]), new[0])
    example = f"{shorten(made[shown], 50)!r} of {shorten(texts[shown // how.copies], 50)!r}"
    say(f"augment   {name}: {len(rows):,} training rows become {len(rows) + len(new):,}, such as {example}{lost}")
    grown = rows.take(pa.array([place // how.copies for place in new]))
    column_of = rows.column_names.index(TEXT)
    return Made(grown.set_column(column_of, TEXT, pa.array([made[place] for place in new], pa.string())), len(made) - len(new))


def _new(texts: Sequence[str], made: Sequence[str], copies: int) -> list[int]:
    """Places of what says something that neither its source nor an earlier text of it says."""
    said = [{_plain(text), ""} for text in texts]
    found = []
    for place, text in enumerate(made):
        told = said[place // copies]
        if _plain(text) not in told:
            told.add(_plain(text))
            found.append(place)
    return found


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def neighbours(base: Resolved, tokens: Callable[[], Any]) -> Callable[[str], Sequence[str]]:
    """Words that a base holds close to a word; its table is read when first asked."""
    return cache(partial(_near, _Vocabulary(base, tokens)))


class _Vocabulary:
    """A base's words with their embeddings, read when first asked."""

    def __init__(self, base: Resolved, tokens: Callable[[], Any]) -> None:
        self._base, self._tokens = base, tokens
        self._read: tuple[dict[str, int], list[str], np.ndarray] | None = None

    def read(self) -> tuple[dict[str, int], list[str], np.ndarray]:
        """Numbers of words, the words, and their embeddings of length one, [V, H]."""
        if self._read is None:
            ids = self._tokens().get_vocab()
            marked = any(token.startswith(_BEGINS) for token in ids)
            words: dict[str, int] = {}
            for token, number in ids.items():
                word = token[1:] if marked and token.startswith(_BEGINS) else "" if marked else token
                if word.isalpha() and len(word) > 2 and token not in self._base.added:
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


def counted(account: dict[str, Any], made: Made, alone: pa.Table | None) -> dict[str, Any]:
    """A ledger that also tells of rows that were made, and of those whose label a teacher gave; limits are of the user's own rows."""
    rows = dict(account["rows"])
    if alone is not None:
        rows |= {"read": rows["read"] + len(alone), "taught": len(alone)}
    if made.rows is not None or made.lost:
        rows |= {"made": len(made.rows or ()), "nothing_new": made.lost}
    return {**account, "rows": rows}
