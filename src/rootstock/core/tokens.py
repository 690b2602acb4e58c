"""The tokens that a text begins and ends with, whatever a tokenizer calls them, and those that it gets around it."""

from typing import Any, NamedTuple


def begin(tokenizer: Any) -> int | None:
    """The id that begins a text; BERT's kind of tokenizer has one for what is classified there."""
    found: int | None = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    return found


def end(tokenizer: Any) -> int | None:
    """The id that ends a text; BERT's kind of tokenizer has a separator for it."""
    found: int | None = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return found


class Around(NamedTuple):
    """Ids that a tokenizer puts before and after one text."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def around(tokenizer: Any) -> Around:
    """What stands around a text."""
    bare, whole = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (False, True))
    place = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return Around(tuple(whole[:place]), tuple(whole[place + len(bare) :]))
