"""What a tokenizer is to be: its settings, and the special tokens of the families of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from rootstock.core.errors import UsageError
from rootstock.core.settings import Settings

_USUAL = {"wordpiece": "bert", "bpe": "gpt", "unigram": "t5"}


class TokenizerSettings(Settings):
    """What a tokenizer is to be. The defaults suit BERT on English."""

    kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    """wordpiece: BERT's, the longest piece first, a word with an unseen character is [UNK]. bpe: merges of bytes, loses nothing.
    unigram: the likeliest pieces, T5's; best where words are not parted by spaces."""

    family: Literal["auto", "bert", "gpt", "t5", "llama"] = "auto"
    """Whose special tokens it gets: the family of the model that is to use it. auto: bert for wordpiece, gpt for bpe, t5 for unigram."""

    size: int = Field(default=8192, ge=1, lt=2**31)
    """Tokens in all, special ones included; fewer where the texts give no more. 8,192 keeps the output layer of a small model small."""

    case: Literal["keep", "lower"] = "keep"
    """lower: all letters are made small, accents stay. Saves tokens and loses names and sentence starts."""

    digits: Literal["together", "apart"] = "together"
    """apart: each digit is a token of its own, which helps with arithmetic and takes more tokens."""

    normalization: Literal["nfc", "nfkc", "none"] = "nfc"
    """Unicode form. nfc joins letters and accents; nfkc also makes ligatures, wide letters and raised digits plain."""

    least: int = Field(default=2, ge=1)
    """Occurrences that a pair of pieces needs to be merged (wordpiece, bpe); once is chance."""

    coverage: float = Field(default=1.0, gt=0, le=1)
    """Share of all characters that the alphabet must cover, the most frequent first. Below 1 (0.9995 for web text) rare ones become
    unknown, or bytes for llama. Byte-level bpe covers everything anyway."""

    length: int = Field(default=512, ge=1)
    """Tokens that the model takes at most: model_max_length."""

    @property
    def byte_level(self) -> bool:
        """Whether the alphabet is the 256 bytes."""
        return self.kind == "bpe" and self.family != "llama"

    def resolved(self) -> "TokenizerSettings":
        """With the family named. Raises UsageError where kind and family do not go together."""
        found = self.model_copy(update={"family": _USUAL[self.kind]}) if self.family == "auto" else self
        kinds = FAMILIES[found.family].kinds
        if self.kind not in kinds:
            raise UsageError(
                f"{self.kind} does not go with the family {found.family}: its text could not be put together again from its tokens",
                wanted=f"--kind {' or '.join(kinds)}",
                fix=f"give --kind {kinds[0]}, or --family {_USUAL[self.kind]}",
            )
        if self.kind == "unigram" and self.least != type(self).model_fields["least"].default:
            raise UsageError("unigram merges nothing, so --least has no meaning for it", fix="leave --least out")
        return found


NAMES = tuple(TokenizerSettings.model_fields)


@dataclass(frozen=True)
class Family:
    """The special tokens of a family of models.

    first, last: those with the lowest and the highest ids. roles: which is which, in the words of transformers. single, pair: what is put
    around one text and around two; :1 marks segment 1. kinds: of tokenizers that the family can have.
    """

    first: tuple[str, ...]
    roles: Mapping[str, str]
    single: str
    pair: str
    kinds: tuple[str, ...]
    last: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")


def _roles(**names: str) -> dict[str, str]:
    return {f"{role}_token": token for role, token in names.items()}


FAMILIES = {
    "bert": Family(
        ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        _roles(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]"),
        "[CLS] $A [SEP]",
        "[CLS] $A [SEP] $B:1 [SEP]:1",
        ("wordpiece", "bpe", "unigram"),
        inputs=("input_ids", "token_type_ids", "attention_mask"),
    ),
    "gpt": Family(("<|endoftext|>",), _roles(bos="<|endoftext|>", eos="<|endoftext|>", pad="<|endoftext|>"), "$A", "$A $B", ("bpe",)),
    "t5": Family(
        ("<pad>", "</s>", "<unk>"),
        _roles(pad="<pad>", eos="</s>", unk="<unk>"),
        "$A </s>",
        "$A </s> $B </s>",
        ("unigram", "bpe"),
        last=tuple(f"<extra_id_{number}>" for number in reversed(range(100))),
    ),
    "llama": Family(
        ("<unk>", "<s>", "</s>"),
        _roles(bos="<s>", eos="</s>", unk="<unk>", pad="</s>"),
        "<s> $A",
        "<s> $A <s>:1 $B:1",
        ("bpe", "unigram"),
    ),
}
"""t5's sentinels stand last and count down, as T5 has them: <extra_id_0> is the highest id. llama has no padding and takes </s>."""
