"""The tokens that a text begins and ends with, whatever a tokenizer calls them."""

from typing import Any


def begin(tokenizer: Any) -> int | None:
    """The id that begins a text; BERT's kind of tokenizer has one for what is classified there."""
    found: int | None = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    return found


def end(tokenizer: Any) -> int | None:
    """The id that ends a text; BERT's kind of tokenizer has a separator for it."""
    found: int | None = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return found
