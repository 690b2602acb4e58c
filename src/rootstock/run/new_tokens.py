"""What the tokens that were added to a base are good for on the rows at hand: counted before anything is learned."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.bases import load as bases
from rootstock.bases import vocabulary
from rootstock.bases.resolve import Resolved
from rootstock.core.errors import RecipeError
from rootstock.core.rows import IDS, LABEL, PAIR, TEXT, Encoded, column
from rootstock.corpus import fertility

_SHOWN = 5


def counted(base: Resolved, tokens: Any, rows: pa.Table, encoded: Encoded) -> dict[str, Any]:
    """For the ledger, under "vocabulary": tokens of the training texts before and after, and which new ones never occur."""
    ids = vocabulary.ids_of(tokens, base.added)
    seen = np.unique(np.concatenate([held.flat for name, held in encoded.tokens.items() if name.startswith(IDS)]))
    never = [token for token, number in zip(base.added, ids, strict=True) if number not in seen]
    names = [name for name in (TEXT, PAIR, LABEL) if name in rows.column_names]
    texts = [("", text) for name in names for text in column(rows, name)]
    sides = bases.tokenizer(replace(base, added=())), tokens
    tallies = [fertility.measure(each.backend_tokenizer, texts)[""] for each in sides]
    facts = {"added": len(base.added), "never": len(never), "never_examples": never[:_SHOWN]}
    counts = {"tokens": [tally.tokens for tally in tallies], "words": tallies[0].words}
    return {"vocabulary": facts | counts | {"tokens_per_word": [tally.inside / max(tally.words, 1) for tally in tallies]}}


def check(accounts: Iterable[dict[str, Any]]) -> None:
    """Raise RecipeError where no new token occurs in any of these ledgers' rows: all would stay what they begin as."""
    facts = [each["vocabulary"] for each in accounts if "vocabulary" in each]
    if facts and all(each["never"] == each["added"] for each in facts):
        raise RecipeError(
            f"none of the {facts[0]['added']} tokens of add_tokens occurs in the training rows, such as {facts[0]['never_examples'][0]!r}",
            wanted="words of these rows",
            fix="name others, or leave add_tokens out",
        )


def spoken(facts: dict[str, Any]) -> str:
    """The same in a line."""
    before, after = facts["tokens_per_word"]
    lost = (
        f"; not in these texts, so left as they begin: {facts['never']:,}, such as {facts['never_examples'][0]!r}" if facts["never"] else ""
    )
    return f"tokens    {facts['added']:,} are new: {before:.3f} tokens a word of the training texts become {after:.3f}{lost}"
