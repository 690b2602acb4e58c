"""Tokenizers learned from texts: WordPiece, BPE and Unigram, as folders that plain transformers loads."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from rootstock.core import artifact, place
from rootstock.core.errors import BaseError
from rootstock.core.lock import alone
from rootstock.corpus.families import FAMILIES, Family, TokenizerSettings
from rootstock.corpus.labelled import labelled
from rootstock.corpus.pieces import BYTES, INNER, LEARNERS, Lesson, Seen

_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer-facts.json")


def train(texts: Iterable[str], settings: TokenizerSettings) -> Tokenizer:
    """Learn a tokenizer; texts are read once, and memory holds their different words.

    Raises UsageError where the size is too small (and says which would do) or the kind does not suit the family, DataError without text.
    """
    settings = settings.resolved()
    family = FAMILIES[settings.family]
    tokenizer = _shell(settings)
    seen = texts if isinstance(texts, Seen) else Seen(texts)
    fixed = (*family.first, *(BYTES if settings.family == "llama" else ()))
    room = settings.size - len(fixed) - len(family.last)
    tokenizer.model = LEARNERS[settings.kind](Lesson(tokenizer, seen, settings, fixed, room, family.roles.get("unk_token", "")))
    tokenizer.add_special_tokens([_special(token, settings) for token in family.first])
    tokenizer.add_special_tokens([_special(token, settings) for token in family.last])
    tokenizer.post_processor = _around(tokenizer, family, settings)
    return tokenizer


def reading(references: Sequence[str], text: str | None = None, languages: Sequence[str] = ()) -> Seen:
    """Texts of sources and built corpora for train(), with what is left out counted. text: the field or column. languages: none is all."""
    broken: Counter[str] = Counter()
    texts = (each for reference in references for _, each in labelled(reference, text, broken, only=languages))
    return Seen(texts, tuple(references), broken)


def _special(token: str, settings: TokenizerSettings) -> AddedToken:
    # The space before a word belongs to its token in bpe and unigram, so a mask that stands for the word takes it too.
    return AddedToken(token, special=True, normalized=False, lstrip=token == "[MASK]" and settings.kind != "wordpiece")


def _around(tokenizer: Tokenizer, family: Family, settings: TokenizerSettings) -> Any:
    used = [token for token in family.first if token in f"{family.single} {family.pair}".replace(":1", "").split()]
    template = processors.TemplateProcessing(
        single=family.single, pair=family.pair, special_tokens=[(token, tokenizer.token_to_id(token)) for token in used]
    )
    return processors.Sequence([processors.ByteLevel(trim_offsets=True), template]) if settings.byte_level else template


# -- the way of a text ------------------------------------------------------------------------------------------------------


def _shell(settings: TokenizerSettings) -> Tokenizer:
    """All of a tokenizer but what is learned."""
    shell = Tokenizer(models.BPE())
    forms: dict[str, list[Any]] = {"nfc": [normalizers.NFC()], "nfkc": [normalizers.NFKC()], "none": []}
    form = forms[settings.normalization]
    digits = [pre_tokenizers.Digits(individual_digits=True)] if settings.digits == "apart" else []
    lower = settings.case == "lower"
    if settings.kind == "wordpiece":
        clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=lower)
        shell.normalizer = normalizers.Sequence([*form, clean])
        shell.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), *digits])
        shell.decoder = decoders.WordPiece(prefix=INNER)
        return shell
    shell.normalizer = normalizers.Sequence([*form, *([normalizers.Lowercase()] if lower else [])])
    if settings.byte_level:
        shell.pre_tokenizer = pre_tokenizers.Sequence([*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        shell.decoder = decoders.ByteLevel()
        return shell
    # Without the cut at punctuation "end." and "(see" would take places of the vocabulary; unigram learns no piece of both.
    parted = [*digits, *([pre_tokenizers.Punctuation("contiguous")] if settings.kind == "bpe" else [])]
    if settings.family == "llama":
        shell.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="first"), *parted])
        shell.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        spaces = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
        shell.pre_tokenizer = pre_tokenizers.Sequence([*spaces, *parted])
        shell.decoder = decoders.Metaspace(prepend_scheme="always")
    return shell


# -- folders ----------------------------------------------------------------------------------------------------------------


def check_place(folder: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError where a tokenizer can't be written: a file, somebody's files, or another tokenizer without overwrite."""
    place.check(folder, "tokenizer", files=_FILES, overwrite=overwrite)


def save(
    tokenizer: Tokenizer,
    settings: TokenizerSettings,
    folder: Path,
    *,
    trained_on: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the folder that transformers.AutoTokenizer loads; returns tokenizer-facts.json. trained_on: what is known of the texts.

    Raises UsageError where the folder holds something.
    """
    with alone(folder):
        check_place(folder, overwrite=overwrite)
        settings = settings.resolved()
        family = FAMILIES[settings.family]
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": settings.length,
            "model_input_names": list(family.inputs),
            "clean_up_tokenization_spaces": False,
            **family.roles,
            **({"additional_special_tokens": list(reversed(family.last))} if family.last else {}),
        }
        facts = {
            "format": 1,
            "settings": settings.plain(),
            "size": tokenizer.get_vocab_size(),
            "trained_on": dict(trained_on) if trained_on else None,
            "tokenizers": version("tokenizers"),
        }
        with artifact.whole_folder(folder.resolve()) as beside:
            artifact.write_text(beside / _FILES[0], tokenizer.to_str(pretty=True) + "\n")
            artifact.write_json(beside / _FILES[1], config)
            artifact.write_json(beside / _FILES[2], facts)
        return facts


def told(folder: Path, facts: Mapping[str, Any]) -> str:
    """What save() wrote, in a line."""
    settings, source = facts["settings"], facts["trained_on"]
    lost = "".join(f"; left out, {rule}: {count:,}" for rule, count in source["broken"].items())
    texts = f"{source['texts']:,} text{'s' * (source['texts'] != 1)}"
    short = f"; {settings['size']:,} were asked for, and these texts hold no more" if facts["size"] < settings["size"] else ""
    return f"{folder}  {facts['size']:,} tokens ({settings['kind']}, {settings['family']}) from {texts}{lost}{short}"


def load(folder: Path) -> Tokenizer:
    """A tokenizer from its folder: reads tokenizer.json and nothing else. Raises BaseError where there is none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BaseError(f"{folder} holds no tokenizer", wanted="a folder with tokenizer.json", fix="name the --out of tokenizer train")
    try:
        tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:  # tokenizers raises bare Exceptions for what it can't read; all others are passed on
        if type(error) is not Exception and not isinstance(error, ValueError):
            raise
        raise BaseError(f"{path} can't be read: {str(error).splitlines()[0]}", fix="train or fetch the tokenizer again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def cut(tokenizer: Tokenizer, text: str) -> list[dict[str, Any]]:
    """The tokens of a text with id, and where in the text they stand; special ones stand nowhere."""
    encoding = tokenizer.encode(text)
    parts = zip(encoding.tokens, encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True)
    return [{"token": token, "id": number, "place": None if special else list(place)} for token, number, place, special in parts]


def as_text(tokens: list[dict[str, Any]]) -> str:
    """One token a line: id, place, token."""
    places = ("{}-{}".format(*each["place"]) if each["place"] else "" for each in tokens)
    return "\n".join(f"{each['id']:>7}  {place:<11}  {each['token']}" for each, place in zip(tokens, places, strict=True))
