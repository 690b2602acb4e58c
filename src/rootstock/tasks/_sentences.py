"""Texts as sentences: found in the text by its punctuation, kept as ids of the text tokenised as a whole.

Shape letters: T tokens of a text, S sentences of it.
"""

import re
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.core.rows import TEXT, column
from rootstock.core.tokens import tokenised

_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s+[^\sa-z])|[。！？]+[」』”’]*|\n\s*\n")
"""A mark with a blank and no small letter behind it, the marks of Chinese and Japanese, or an empty line. "Mr. Smith" is cut, too: rarely
enough, and no harm to what goes by consecutive texts."""


def split(rows: pa.Table, tokenizer: Any, most: int) -> list[list[np.ndarray]]:
    """Of each text its sentences, int32 ids without special ones; one of more than `most` is cut into parts alike. None without tokens."""
    texts = column(rows, TEXT)
    made = tokenised(tokenizer, texts, add_special_tokens=False, return_offsets_mapping=True)
    told = zip(texts, made["input_ids"], made.get("offset_mapping", []), strict=True)
    return [_sentences(text, np.asarray(ids, np.int32), np.asarray(places)[:, 0], most) if ids else [] for text, ids, places in told]


def _sentences(text: str, ids_T: np.ndarray, starts_T: np.ndarray, most: int) -> list[np.ndarray]:
    ends_S = np.array([found.end() for found in _END.finditer(text)], dtype=np.int64)
    number_T = np.searchsorted(ends_S, starts_T, side="right")
    sentences = np.split(ids_T, np.flatnonzero(np.diff(number_T)) + 1)
    return [part for ids in sentences for part in np.array_split(ids, -(-len(ids) // most))]
