"""Texts that a run is asked, as rows."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rootstock.core.errors import UsageError
from rootstock.core.rows import PAIR, ROW, TEXT


def table_of(texts: Sequence[Any], *, pair: bool) -> pa.Table:
    """Texts, or pairs of texts, as rows with canonical columns."""
    if pair and any(isinstance(text, str) or len(text) != 2 for text in texts):
        raise UsageError(
            "a text without its partner", wanted="pairs: this run learned from two texts a row", fix='predict([("first", "second")])'
        )
    if not pair and any(not isinstance(text, str) for text in texts):
        raise UsageError("something that is no text", wanted="strings", fix='predict(["a text"])')
    columns = {TEXT: [text[0] for text in texts], PAIR: [text[1] for text in texts]} if pair else {TEXT: list(texts)}
    try:
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    except UnicodeEncodeError as error:
        raise UsageError(f"the text {error.object!a} holds what is no letter", wanted="text in UTF-8") from None
    return pa.table(arrays | {ROW: pa.array(range(1, len(texts) + 1), pa.int64())})
