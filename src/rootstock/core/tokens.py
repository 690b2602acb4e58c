"""What a tokenizer makes of many texts; the tokens that one begins and ends with, whatever they are called, and those around it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_PART = 1024
"""Texts that are cut at a time: beside the ids of a text the tokenizers package holds some 8 kB until they are read."""


def parts(tokenizer: Any, *texts: Sequence[str], length: int | None = None, target: bool = False, **more: Any) -> Iterator[Any]:
    """What it makes of texts (or pairs), cut at `length` tokens from the longer one first: mappings of lists of rows, some rows each.

    target: they are what a model of two halves is to write. more: as transformers' tokenizers take it.
    How a tokenizer cuts is kept in itself: threads that share one take turns.
    """
    asked = {"truncation": True, "max_length": length} if length else {"truncation": False}
    asked |= {"return_attention_mask": False, "verbose": False, **more}
    names = ("text_target",) if target else ("text", "text_pair")
    quick = not target and not more.keys() - {"add_special_tokens"} and _plain(tokenizer)
    try:
        for start in range(0, len(texts[0]), _PART):
            some = [list(side[start : start + _PART]) for side in texts]
            if quick:
                yield _ids(tokenizer, some, length, special=more.get("add_special_tokens", True))
            else:
                yield tokenizer(**dict(zip(names, some, strict=False)), **asked)
    finally:
        if length:
            tokenizer.backend_tokenizer.no_truncation()  # or the tokenizer, once saved, would cut for everybody


def tokenised(tokenizer: Any, *texts: Sequence[str], length: int | None = None, target: bool = False, **more: Any) -> dict[str, list[Any]]:
    """The same of all texts as lists of rows."""
    made: dict[str, list[Any]] = {"input_ids": []}
    for part in parts(tokenizer, *texts, length=length, target=target, **more):
        for name, rows in part.items():
            made.setdefault(name, []).extend(rows)
    return made


def _plain(tokenizer: Any) -> bool:
    """Whether it adds nothing of its own to what the tokenizers package does, and can so be asked for ids alone."""
    from transformers import PreTrainedTokenizerFast

    known, own = PreTrainedTokenizerFast, type(tokenizer)
    return issubclass(own, known) and own.__call__ is known.__call__ and own._encode_plus is known._encode_plus


def _ids(tokenizer: Any, texts: Sequence[list[str]], length: int | None, *, special: bool) -> Mapping[str, list[list[int]]]:
    """Without places in the text, words and masks, which take a third of the time."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    if length:
        backend.enable_truncation(length, direction=tokenizer.truncation_side)
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    pairs = len(texts) == 2
    made = backend.encode_batch_fast(list(zip(*texts, strict=True)) if pairs else texts[0], add_special_tokens=special)
    typed = pairs and "token_type_ids" in tokenizer.model_input_names
    return {"input_ids": [each.ids for each in made], **({"token_type_ids": [each.type_ids for each in made]} if typed else {})}


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
