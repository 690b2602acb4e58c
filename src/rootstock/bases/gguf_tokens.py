"""A tokenizer as llama.cpp reads it: byte-level BPE whose way to part words it knows, or BERT's uncased word pieces. Others are refused."""

import json
from collections.abc import Iterator
from typing import Any

from rootstock.core.errors import UsageError

_NORMAL, _UNKNOWN, _CONTROL, _UNUSED = 1, 2, 3, 5
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_KNOWN = {_LLAMA3: "llama-bpe", _QWEN2: "qwen2", None: "gpt-2"}
"""Patterns by which words are parted before BPE, and llama.cpp's names for them. None: ByteLevel's own, which is GPT-2's."""
_IDS = ("bos", "eos", "unk", "sep", "pad", "mask")


def add_tokens(writer: Any, tokenizer: Any, config: Any) -> None:
    """Tokens, merges, special ids and the chat template. UsageError for a tokenizer that llama.cpp would not follow."""
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    wordpiece = told["model"]["type"] == "WordPiece"
    parted = "" if wordpiece else _parted(told)
    if wordpiece:
        _check_uncased(told)
    names, kinds = zip(*_tokens(told, tokenizer, config.vocab_size, wordpiece=wordpiece), strict=True)
    writer.add_tokenizer_model("bert" if wordpiece else "gpt2")
    writer.add_tokenizer_pre(parted or "default")
    writer.add_token_list(list(names))
    writer.add_token_types(list(kinds))
    if wordpiece:
        writer.add_token_type_count(config.type_vocab_size)
    else:
        writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in told["model"]["merges"]])
    _add_ids(writer, tokenizer, wordpiece=wordpiece)
    if not wordpiece:
        writer.add_add_bos_token(tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _tokens(told: dict[str, Any], tokenizer: Any, rows: int, *, wordpiece: bool) -> Iterator[tuple[str, int]]:
    """Name and kind of the token of each row of the table; a piece of a word has a mark where others begin one."""
    names = {number: name for name, number in tokenizer.get_vocab().items()}
    special = {each["id"] for each in told["added_tokens"] if each["special"]}
    for number in range(rows):
        if number not in names:
            yield f"[PAD{number}]", _UNUSED
        elif number == tokenizer.unk_token_id:
            yield names[number], _UNKNOWN
        elif number in special:
            yield names[number], _CONTROL
        elif wordpiece:
            name = names[number]
            yield name[2:] if name.startswith("##") else f"▁{name}", _NORMAL
        else:
            yield names[number], _NORMAL


def _add_ids(writer: Any, tokenizer: Any, *, wordpiece: bool) -> None:
    held = {name: getattr(tokenizer, f"{name}_token_id") for name in _IDS}
    if wordpiece:  # llama.cpp puts the first before a text and the second behind it
        held |= {"bos": tokenizer.cls_token_id, "eos": tokenizer.sep_token_id}
    for name, number in held.items():
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)


def _parted(told: dict[str, Any]) -> str:
    """llama.cpp's name for how words are parted."""
    if told["model"]["type"] == "BPE" and not told["model"].get("byte_fallback"):
        before = told.get("pre_tokenizer") or {}
        parts = before.get("pretokenizers", [before])
        patterns = [each["pattern"].get("Regex") for each in parts if each.get("type") == "Split"]
        levels = [each for each in parts if each.get("type") == "ByteLevel"]
        pattern = patterns[0] if len(patterns) == 1 else None
        plain = len(levels) == 1 and len(levels) + len(patterns) == len(parts) and bool(levels[0].get("use_regex", True)) != bool(patterns)
        if plain and pattern in _KNOWN and (told.get("normalizer") or {}).get("type") in (None, "NFC"):
            return _KNOWN[pattern]
    raise UsageError(
        f"a tokenizer of {told['model']['type']} that llama.cpp has no name for",
        wanted="byte-level BPE as GPT-2, Llama 3 or Qwen 2 have it, or uncased WordPiece",
        fix="export it --to merged, and convert it with llama.cpp's own script",
    )


def _check_uncased(told: dict[str, Any]) -> None:
    """llama.cpp writes texts small before it looks for word pieces, always."""
    normal, before = told.get("normalizer") or {}, told.get("pre_tokenizer") or {}
    if normal.get("type") != "BertNormalizer" or not normal.get("lowercase") or before.get("type") != "BertPreTokenizer":
        raise UsageError("word pieces that are not BERT's uncased ones --to gguf", wanted="an uncased BERT", fix="export it --to onnx")
